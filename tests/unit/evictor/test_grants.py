# SPDX-License-Identifier: Apache-2.0
"""A user would lose: the budget, if engines were granted more than there is; blocks, if they were granted nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmd_storage_connector.eviction.budget_client import BudgetClient
from llmd_storage_connector.eviction.write_budget import VOID_S
from llmd_storage_connector.telemetry.rate_limited_log import RateLimitedLog
from llmd_storage_evictor.cache.engine_reports import EngineReports
from llmd_storage_evictor.config import parse
from llmd_storage_evictor.controller import write_grants
from llmd_storage_evictor.controller.write_grants import WriteGrants
from llmd_storage_evictor.core import grants
from llmd_storage_evictor.core.grants import EngineReport
from tests.unit.connector.conftest import Clock
from tests.unit.connector.test_write_budget import budget_of
from tests.unit.evictor.support import BLOCK, config, evictor, namespace

BUDGET = 1000
WHAT = st.sampled_from(["write", "report", "read", "scan", "grant", "remove"])
STEPS = st.lists(st.tuples(WHAT, st.integers(0, 2), st.integers(1, 400)), max_size=80)


def settings(high: float = 0.95) -> dict[str, object]:
    return {"root_dir": "/cache", "budget_bytes": BUDGET, "high_watermark": high, "low_watermark": high - 0.1}


@given(STEPS, st.sampled_from([0.5, 0.95, 1.0]))
def test_no_order_of_what_engines_and_evictor_do_exceeds_the_budget(
    steps: list[tuple[str, int, int]], high: float
) -> None:
    """Engines write all they may, whenever they may, and read their limits as late as they like."""
    one = parse(settings(high))
    newcomer = grants.new_engine_bytes(one)
    written, reported, limit = [0, 0, 0], [0, 0, 0], [newcomer] * 3
    disk = held = 0
    seen: dict[str, int] = {}
    issued: dict[str, int] = {}
    for what, who, size in steps:
        if what == "write":
            now = min(size, limit[who] - written[who])
            written[who] += now
            disk += now
        elif what == "report":
            reported[who] = written[who]
        elif what == "read":
            limit[who] = issued.get(str(who), newcomer)
        elif what == "scan":
            seen, held = {str(name): count for name, count in enumerate(reported)}, disk
        elif what == "remove":  # told to the index at once, and no more than the scan has seen
            gone = min(size, held)
            disk, held = disk - gone, held - gone
        else:
            writers = {str(name): EngineReport(count, size) for name, count in enumerate(reported)}
            after = grants.limits(one, held, seen, writers, issued)
            assert all(after[name] >= issued.get(name, newcomer) for name in after), "a limit was lowered"
            issued = after
        assert disk <= BUDGET + 2 * newcomer, "three began at once: only the one that is expected was kept room for"


def test_what_waits_is_granted_as_far_as_there_is_room_and_shared_by_need() -> None:
    one = parse(settings())
    much, little = EngineReport(100, 600), EngineReport(100, 0)
    now = grants.limits(one, 200, {"a": 100, "b": 100}, {"a": much, "b": little}, {"a": 100, "b": 100})
    assert now["a"] == 200 and 100 < now["b"] < 150, "no more at once than its part of a fifth of the budget"
    tight = grants.limits(one, 900, {"a": 100, "b": 100}, {"a": much, "b": much}, {"a": 100, "b": 100})
    assert tight == {"a": 190, "b": 100}, "one after the other: halves might be too small for a block"
    later = grants.limits(one, 900, {"a": 190, "b": 100}, {"a": EngineReport(190, 600), "b": much}, tight)
    assert later["b"] == 190 and later["a"] == 190, "who has written least is next"
    full = grants.limits(one, 1000, {"a": 100}, {"a": much}, {"a": 100})
    assert full == {"a": 100} and grants.has_shortage({"a": much}, full)


def test_room_is_made_for_who_waits_though_another_does_not_use_what_it_was_granted() -> None:
    """Else a few idle engines would keep all others from writing for ever."""
    one = parse(settings())
    writers = {"idle": EngineReport(0, 0), "busy": EngineReport(300, 500)}
    held, seen, granted = 800, {"idle": 0, "busy": 300}, {"idle": 190, "busy": 300}
    assert grants.has_shortage(writers, granted)
    held -= max(0, held - (BUDGET - grants.reserved_bytes(one, writers, granted)))
    assert grants.limits(one, held, seen, writers, granted)["busy"] == 350


def test_an_idle_engine_holds_back_little(tmp_path: Path) -> None:
    """Else a hundred idle engines would keep the cache empty."""
    one = parse(settings())
    idle = {str(name): EngineReport(0, 0) for name in range(100)}
    now = grants.limits(one, 0, {}, idle, dict.fromkeys(idle, 0))
    assert sum(now.values()) <= BUDGET * 0.05


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"written": "many", "waiting": 0}', "\0" * 40])
def test_a_report_that_makes_no_sense_changes_nothing(tmp_path: Path, text: str) -> None:
    cache = namespace(tmp_path / "blocks")
    with evictor(config(cache.root)) as bench:
        context = bench.controller._context
        reader = EngineReports(context.directory, context.may_remove, context.clock)
        one = WriteGrants(config(cache.root), context, reader, RateLimitedLog(write_grants.logger))
        one.update(0)
        (cache.root / ".evictor/writers" / ("ab" * 6)).write_text(text)
        (cache.root / ".evictor/writers" / "someone-else").write_text(text)
        assert one.update(0) == 0
        assert json.loads((cache.root / ".evictor/room.json").read_text())["room"]["limits"] == {}


def test_an_engine_and_the_evictor_understand_each_other(tmp_path: Path) -> None:
    """Reports, limits, death and a change of leaders, through the files themselves."""
    cache, clock = namespace(tmp_path / "blocks"), Clock()
    write_budget = budget_of(clock)
    client = BudgetClient(write_budget, clock)

    def poll() -> None:
        client.poll(str(cache.path), 7 * BLOCK)

    poll()
    assert write_budget.reserve(10**12), "without an evictor nobody sets a limit"
    write_budget.settle(10**12, False)
    settings = config(cache.root, budget_bytes=200 * BLOCK, high_watermark=0.95, low_watermark=0.9)
    with evictor(settings) as bench:
        bench.controller.reconcile()
        bench.controller.update_grants()
        poll()
        poll()
        assert write_budget.reserve(2 * BLOCK) and not write_budget.reserve(BLOCK), "a newcomer has a hundredth"
        write_budget.settle(2 * BLOCK, True)
        bench.controller.update_grants()
        poll()
        assert sum(write_budget.reserve(BLOCK) for _ in range(20)) >= 7, "what waits was granted"
        granted = json.loads((cache.root / ".evictor/room.json").read_text())["room"]["limits"]
    with evictor(settings) as bench:
        bench.controller.reconcile()
        bench.ticks[0] += 11
        bench.controller.update_grants()
        after = json.loads((cache.root / ".evictor/room.json").read_text())["room"]["limits"]
        assert after.keys() == granted.keys() and all(after[name] >= granted[name] for name in granted)
        clock.now += VOID_S + 1
        assert not write_budget.reserve(1), "it may be taken for dead by now"
        bench.ticks[0] += 91
        bench.controller.update_grants()
        assert not list((cache.root / ".evictor/writers").iterdir()), "a dead engine's report stays"
    for _ in range(2):
        poll()
        clock.now += 61
    poll()
    assert write_budget.reserve(10**12), "an evictor that is gone for good keeps nobody from writing"

# SPDX-License-Identifier: Apache-2.0
"""A user would lose: the disk, to what is written while nobody leads."""

from __future__ import annotations

import pytest

from llmd_storage_evictor.config import Config, parse
from llmd_storage_evictor.core import policy
from llmd_storage_evictor.core.policy import FreeRoom, NamespaceRule, NamespaceUsage, Reason
from llmd_storage_evictor.core.scan_timer import ScanTimer

MIB = 2**20
TAKEOVER_S = 13.1  # as measured, with a leader that was killed


def settings(budget: int) -> Config:
    return parse({"root_dir": "/cache", "budget_bytes": budget, "free_floor_bytes": 0})


def removed(config: Config, held: int, takeover_bytes: int) -> int:
    """What a pass removes."""
    usage = {"a": NamespaceUsage(1, held, 0, 0, 0)}
    tasks = policy.pending_tasks(
        config, {"a": NamespaceRule()}, usage, FreeRoom(), 0, takeover_bytes=takeover_bytes
    )  # fmt: skip
    return sum(one.need_bytes or 0 for one in tasks if one.reason is Reason.BUDGET)


def peak_of(budget: int, bytes_s: int, kills_at: list[float], *, reported: bool = False) -> float:
    """The most that is held, as a share of the budget: leaders that scan and remove as they would, and are killed."""
    config, now, held, most = settings(budget), 0.0, 0.0, 0.0
    timer = ScanTimer(config)
    for killed_at in kills_at:
        while now < killed_at:
            before = int(held)
            held -= removed(config, before, timer.takeover_bytes)
            wait_s = timer.wait_s(
                began=now, scan_s=0.1, cpu_s=0.01, held_before=before, held_after=int(held), free_bytes=10**15,
                reported=reported,
            )  # fmt: skip
            now, held = now + wait_s, held + wait_s * bytes_s
            most = max(most, held)
        now, held = now + TAKEOVER_S, held + TAKEOVER_S * bytes_s
        most, timer = max(most, held), ScanTimer(config)
    return most / budget


@pytest.mark.parametrize("after_s", [120.0, 121.0, 123.0, 127.0, 135.0])
def test_the_budget_holds_while_one_leader_follows_another(after_s: float) -> None:
    """14 MiB a second and 500 MiB: 146.7 % of a small budget was seen."""
    assert peak_of(500 * MIB, 14 * MIB, [after_s]) <= 1.0
    assert peak_of(500 * MIB, 14 * MIB, [after_s], reported=True) > 1.2, "what this writer does where no room is kept"


def test_of_a_large_budget_nothing_is_kept_back_and_of_a_small_one_half_at_most() -> None:
    large, small = 10**6 * MIB, 100 * MIB
    mark = policy.high_mark(settings(large), large, policy.takeover_room(large, 14 * MIB))
    assert mark == int(large * 0.95)
    assert policy.takeover_room(small, 1000 * MIB) == small // 2


def test_engines_that_obey_grants_need_no_such_room() -> None:
    """They write no more than they were granted while nobody leads."""
    config = settings(500 * MIB)
    timer = ScanTimer(config)
    for now in range(30):
        held = now * 14 * MIB
        timer.wait_s(
            began=now, scan_s=0.1, cpu_s=0.01, held_before=held, held_after=held, free_bytes=0, reported=True
        )  # fmt: skip
    assert timer.takeover_bytes == 0


def test_a_burst_is_forgotten_by_and_by() -> None:
    timer = ScanTimer(settings(10_000 * MIB))
    timer.growth.add(10, 100 * MIB)
    first = timer.takeover_bytes
    timer.growth.add(600, 0)
    assert first == 150 * MIB and timer.takeover_bytes == pytest.approx(first / 2)

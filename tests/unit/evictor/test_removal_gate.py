# SPDX-License-Identifier: Apache-2.0
"""A user would lose: a cache that took days to fill, to a budget with a zero too few or to the first enabling."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from llmd_storage_evictor.cache.directory import CacheDirectory, Space
from llmd_storage_evictor.config import Config
from llmd_storage_evictor.controller.metrics import Metrics
from tests.unit.evictor.support import BLOCK, Bench, Namespace, config, evictor, namespace, stamp


@pytest.fixture
def cache(tmp_path: Path) -> Namespace:
    made = namespace(tmp_path / "blocks")
    for number in range(20):
        made.store(number, age_s=1000 - number)
    return made


def settings(cache: Namespace, blocks: int, **changes: Any) -> Config:
    return config(
        cache.root, **({"budget_bytes": blocks * BLOCK, "grace_s": 300, "allow_large_removal": False} | changes)
    )


def passes(bench: Bench, seconds: float) -> None:
    for _ in range(int(seconds / 10)):
        bench.round()
        bench.ticks[0] += 10
        bench.now[0] += 10


def test_the_first_enabling_says_what_will_go_and_waits(cache: Namespace, caplog: pytest.LogCaptureFixture) -> None:
    with evictor(settings(cache, 15)) as bench:
        passes(bench, 290)
        assert len(cache.numbers()) == 20
        (said,) = [one.message for one in caplog.records if "new limits" in one.message]
        assert "will remove 40.0 KiB of the 100 KiB" in said and "(budget)" in said and "begins in 5m" in said
        assert bench.troubles.lasting(60) == "", "it is as it should be"
        passes(bench, 30)
        assert len(cache.numbers()) == 12


def test_a_new_leader_goes_on_waiting_and_accepted_limits_hold_at_once(cache: Namespace) -> None:
    with evictor(settings(cache, 15)) as bench:
        passes(bench, 200)
    with evictor(settings(cache, 15)) as bench:
        bench.now[0] += 200
        passes(bench, 90)
        assert len(cache.numbers()) == 20
        passes(bench, 30)
        assert len(cache.numbers()) == 12
    for number in range(20, 28):
        cache.store(number, age_s=1)
    with evictor(settings(cache, 15)) as bench:
        bench.round()
        assert len(cache.numbers()) == 12, "known limits: the disk must not wait"


def test_a_mistyped_budget_does_not_empty_the_cache_and_says_so(
    cache: Namespace, caplog: pytest.LogCaptureFixture
) -> None:
    with evictor(settings(cache, 2)) as bench:
        passes(bench, 4000)
        assert len(cache.numbers()) == 20
        assert "allow_large_removal" in bench.troubles.lasting(60)
    assert sum("allow_large_removal" in one.message for one in caplog.records) == 1
    with evictor(settings(cache, 2, allow_large_removal=True)) as bench:
        passes(bench, 320)
        assert len(cache.numbers()) == 1


@pytest.mark.parametrize("changes", [{"ttl_s": 3}, {"namespaces": [{"quota_bytes": BLOCK}]}])
def test_nor_does_a_mistyped_time_to_live_or_quota(cache: Namespace, changes: dict[str, Any]) -> None:
    with evictor(settings(cache, 100)) as bench:
        passes(bench, 20)
    with evictor(settings(cache, 100, **changes)) as bench:
        passes(bench, 4000)
    assert len(cache.numbers()) == 20


def test_a_cache_that_grows_into_its_budget_is_kept_from_the_first_block_on(tmp_path: Path) -> None:
    cache = namespace(tmp_path / "blocks")
    with evictor(settings(cache, 10)) as bench:
        cache.store(0)
        bench.round()
        for number in range(20):
            cache.store(number, age_s=1000 - number)
        bench.round()
    assert len(cache.numbers()) == 8


def test_a_filesystem_that_fills_up_does_not_wait(cache: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CacheDirectory, "space", lambda self: Space(10**12, 5 * BLOCK, None))
    with evictor(settings(cache, 15, free_floor_bytes=7 * BLOCK)) as bench:
        bench.round()
    assert len(cache.numbers()) == 18


def test_a_namespace_that_nobody_uses_waits_as_well(cache: Namespace) -> None:
    for path in (cache.path / "manifest.json", cache.path):
        stamp(path, 5000)
    with evictor(settings(cache, 15, namespace_unused_s=100)) as bench:
        passes(bench, 290)
        assert len(cache.numbers()) == 20


def test_a_pass_is_one_line(cache: Namespace, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    other = namespace(cache.root, dtype="other")
    for number in range(5):
        other.store(number, age_s=10)
    limits = {"namespaces": [{"namespace": other.name, "quota_bytes": 2 * BLOCK}], "allow_large_removal": True}
    with evictor(settings(cache, 15, grace_s=0, **limits)) as bench:
        passes(bench, 50)
    (line,) = [one for one in caplog.records if one.message == "removed blocks"]
    assert {reason: one["files"] for reason, one in line.fields["removed"].items()} == {"quota": 4, "budget": 9}


def test_one_that_waits_does_not_show_an_empty_disk(cache: Namespace) -> None:
    def shown(metrics: Metrics) -> set[str]:
        return {line.split()[2].removeprefix("llmd_storage_evictor_") for line in metrics.text().decode().splitlines()
                if line.startswith("# TYPE")}  # fmt: skip

    of_the_leader = {"filesystem_free_bytes", "budget_bytes", "headroom_bytes", "over_budget_bytes"}
    waiting = shown(Metrics())
    assert "leader" in waiting and "skipped_files_total" in waiting and not waiting & of_the_leader
    with evictor(settings(cache, 100)) as bench:
        bench.round()
        assert of_the_leader <= shown(bench.metrics)
        bench.metrics.clear()
        assert not shown(bench.metrics) & of_the_leader

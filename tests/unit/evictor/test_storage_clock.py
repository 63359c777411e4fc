# SPDX-License-Identifier: Apache-2.0
"""A user would lose: everything, to one node whose clock is a month ahead."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llmd_storage_evictor.cache import storage_clock
from llmd_storage_evictor.cache.directory import CacheDirectory
from llmd_storage_evictor.cache.storage_clock import StorageClock
from tests.unit.evictor.support import NOW, Namespace, config, evictor, namespace, stamp

DAY = 86400.0
AHEAD = 31 * DAY
BY_AGE = {"ttl_s": 3600, "namespace_unused_s": 30 * DAY, "scratch_keep_s": 600}


@pytest.fixture
def cache(tmp_path: Path) -> Namespace:
    """Written seconds ago."""
    made = namespace(tmp_path / "blocks")
    for number in range(5):
        made.store(number, age_s=number)
    for path in (made.path / "manifest.json", made.path):
        stamp(path, 5)
    return made


def test_a_leader_a_month_ahead_removes_nothing_that_is_seconds_old(cache: Namespace) -> None:
    with evictor(config(cache.root, **BY_AGE), storage_time=lambda _: NOW, ahead_s=AHEAD) as bench:
        for _ in range(3):
            bench.round()
            bench.ticks[0] += 120
        assert bench.metric("clock_offset_seconds") == -AHEAD
    assert cache.numbers() == [0, 1, 2, 3, 4]


def test_where_clients_stamp_by_their_own_clocks_the_engines_count(cache: Namespace) -> None:
    """CephFS: what the leader touches bears the leader's time."""
    writers = cache.root / ".evictor" / "writers"
    writers.mkdir(parents=True)
    report = writers / "0123456789ab"
    report.write_text('{"version": 1, "written": 0, "waiting": 0}')
    stamp(report, 0)
    with evictor(config(cache.root, **BY_AGE), ahead_s=AHEAD) as bench:
        for step in range(5):
            stamp(report, -120 * step)
            bench.round()
            bench.ticks[0] += 120
            bench.now[0] += 120
    assert cache.numbers() == [0, 1, 2, 3, 4]


def test_a_leader_that_is_behind_removes_what_is_old(cache: Namespace) -> None:
    with evictor(config(cache.root, **BY_AGE), storage_time=lambda _: NOW + 2 * 3600) as bench:
        bench.round()
    assert cache.numbers() == []


def test_the_storage_is_asked_without_a_byte_and_rarely(tmp_path: Path) -> None:
    (tmp_path / ".evictor").mkdir()
    os.utime(tmp_path / ".evictor", (5, 5))
    directory = CacheDirectory(tmp_path)
    directory.open()
    assert storage_clock.touch(directory) > NOW - 3650 * DAY and list((tmp_path / ".evictor").iterdir()) == []
    ticks, asked = [0.0], []

    def stamped() -> float:
        asked.append(ticks[0])
        return 500.0

    one = StorageClock(stamped, clock=lambda: ticks[0], wall_clock=lambda: 900.0)
    for _ in range(120):
        one.sync(None)
        ticks[0] += 1
    assert asked == [0, 60] and one.now() == 500


def test_a_storage_that_cannot_say_leaves_the_leaders_clock() -> None:
    def full() -> float:
        raise OSError(28, "No space left on device")

    one = StorageClock(full, wall_clock=lambda: 900.0)
    one.sync(None)
    assert one.now() == 900

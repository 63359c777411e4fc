# SPDX-License-Identifier: Apache-2.0
"""What a user would lose on the day storage hangs, fails or refuses: every request, or all of the engine."""

from __future__ import annotations

import pytest

from tests.engine.conftest import ROWS
from tests.engine.served import BLOCKS, Served
from tests.faultfs import CLASSES, FaultFS

pytestmark = pytest.mark.engine


def test_a_hang_costs_two_deadlines_and_then_nothing(sick: Served, fs: FaultFS) -> None:
    before = sick.engine.metrics()
    fs.stop()
    sick.check()
    sick.check()
    seen = sick.engine.metrics()
    assert seen.ours("breaker_open") == 1
    assert seen.ours("deadline_misses", operation="lookup") > before.ours("deadline_misses", operation="lookup")
    for _ in range(3):
        sick.check()
    sick.rises(before, "breaker_trips")
    sick.rises(before, "lookup_misses", reason="breaker")
    later = sick.engine.metrics()
    for operation in ("lookup", "load"):
        waited = later.ours("deadline_misses", operation=operation) - seen.ours("deadline_misses", operation=operation)
        assert waited == 0, "a request waited for storage that is known to be sick"


def test_a_hang_of_lookups_alone_is_answered_at_their_deadline(sick: Served, fs: FaultFS) -> None:
    before = sick.engine.metrics()
    fs.set(hang=("meta",))
    sick.check()
    sick.rises(before, "deadline_misses", operation="lookup")


def test_a_load_that_hangs_is_given_up_and_computed(sick: Served, fs: FaultFS) -> None:
    tokens, _ = sick.stored()
    before = sick.engine.metrics()
    fs.set(hang=("read",))
    sick.check(tokens)
    sick.rises(before, "deadline_misses", operation="load")


def test_a_store_that_hangs_holds_up_no_request_and_no_memory(sick: Served, fs: FaultFS) -> None:
    before = sick.engine.metrics()
    fs.set(hang=("write",))
    for _ in range(3):
        sick.check()
    sick.rises(before, "deadline_misses", operation="store")
    sick.rises(before, "store_failures", reason="deadline")
    # What was given up does not stay in the CPU tier, which holds fewer blocks than these.
    for _ in range(ROWS // BLOCKS + 1):
        sick.check()


@pytest.mark.parametrize(
    ("errno", "on"),
    [
        pytest.param("EIO", ("read",), id="EIO-read"),
        pytest.param("ESTALE", ("read",), id="ESTALE-read"),
        pytest.param("EIO", ("meta",), id="EIO-meta"),
        pytest.param("ESTALE", ("meta",), id="ESTALE-meta"),
        pytest.param("ENOTCONN", CLASSES, id="ENOTCONN-all"),
    ],
)
def test_an_error_of_reading_is_a_miss_and_two_open_the_breaker(
    sick: Served, fs: FaultFS, errno: str, on: tuple[str, ...]
) -> None:
    kept = [sick.stored()[0] for _ in range(2)]
    before = sick.engine.metrics()
    fs.set(errno=errno, on=on)
    for tokens in kept:
        sick.check(tokens)
    failed = ["load_failures", "lookup_misses"]
    sick.engine.wait_until(
        lambda seen: (
            sum(seen.ours(name, reason=errno.lower()) - before.ours(name, reason=errno.lower()) for name in failed) > 0
        ),
        f"{errno} counts as the reason",
    )
    sick.rises(before, "breaker_trips")
    fs.set()
    sick.engine.wait_until(lambda seen: seen.ours("breaker_open") == 0, "the breaker to close by itself")
    # An error of the way there says nothing about the file: it is still there, and is used.
    sick.comes_back(kept[0])


@pytest.mark.parametrize("errno", ["EDQUOT", "EACCES"])  # ENOSPC and EROFS for real: test_full_claim.py
def test_refused_writing_pauses_it_and_reading_goes_on(sick: Served, fs: FaultFS, errno: str) -> None:
    kept, _ = sick.stored()
    before = sick.engine.metrics()
    fs.set(errno=errno, on=("write",))
    sick.check()
    sick.engine.wait_until(lambda seen: seen.ours("writes_paused") == 1, "writing pauses")
    sick.rises(before, "write_pauses", reason=errno.lower())
    sick.check()
    sick.rises(before, "store_drops", reason="paused")
    assert sick.loads(kept) == BLOCKS
    assert sick.engine.metrics().ours("breaker_open") == 0
    lines = [line for line in sick.engine.log.read_text().splitlines() if errno in line]
    assert len(lines) == 1, "one line a minute says it"


def test_a_killed_client_and_its_remount_cost_only_the_time_between(sick: Served, fs: FaultFS) -> None:
    kept, _ = sick.stored()
    before = sick.engine.metrics()
    fs.kill()
    for _ in range(3):
        sick.check()
    sick.check(kept)
    sick.rises(before, "breaker_trips")
    fs.remount()
    sick.engine.wait_until(lambda seen: seen.ours("breaker_open") == 0, "the breaker to close by itself")
    sick.comes_back(kept)

# SPDX-License-Identifier: Apache-2.0
"""A user would lose: the budget, if scans came too late; a core, if they came too often."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import generate_latest

from llmd_storage_evictor.config import parse
from llmd_storage_evictor.controller.metrics import Metrics
from llmd_storage_evictor.core.policy import Reason
from llmd_storage_evictor.core.scan_timer import ScanTimer

GIB = 2**30
DOCS = Path(__file__).parents[3] / "docs/evictor.md"


def timer(budget: int, floor: int = 0) -> ScanTimer:
    return ScanTimer(parse({"root_dir": "/cache", "budget_bytes": budget, "free_floor_bytes": floor}))


def wait(
    one: ScanTimer, began: float, grown: int, left: int | None = None, free: int = 10**15, cpu_s: float = 0.001
) -> float:
    left = grown if left is None else left
    return one.wait_s(began=began, scan_s=0.01, cpu_s=cpu_s, held_before=grown, held_after=left, free_bytes=free)


def test_with_much_room_looks_are_rare_and_with_little_they_are_not() -> None:
    assert wait(timer(1000 * GIB), 0, 10 * GIB) == 10
    assert wait(timer(10 * GIB), 0, int(9.4 * GIB)) < 0.2


def test_looking_at_an_idle_cache_costs_little_however_little_room_there_is() -> None:
    one = timer(10 * GIB)
    waits = [wait(one, began, int(9.49 * GIB), cpu_s=0.2) for began in range(5)]
    assert min(waits) >= 0.2 / 0.05, "more than 5 % of a core"


def test_growth_that_is_seen_is_followed_whatever_it_costs() -> None:
    one = timer(10 * GIB)
    wait(one, 0, 8 * GIB, cpu_s=0.5)
    assert wait(one, 1, 9 * GIB, cpu_s=0.5) < 0.2


def test_removal_begins_before_the_mark_when_growth_would_pass_it_meanwhile() -> None:
    one = timer(10 * GIB)
    wait(one, 0, 9 * GIB)
    assert one.should_remove(1, int(9.4 * GIB)) and not one.should_remove(1, int(9.01 * GIB))


def test_a_filesystem_that_others_fill_is_followed_as_well() -> None:
    one = timer(1000 * GIB, floor=20 * GIB)
    wait(one, 0, 100 * GIB, free=60 * GIB)
    assert wait(one, 1, 100 * GIB, free=40 * GIB) < 0.3


def test_unreported_growth_is_followed_before_the_next_scan_is_paid() -> None:
    """Many folders: a look at each costs minutes of what may be spent."""
    for reported, urgent in ((False, True), (True, False)):
        one = timer(1000 * GIB)
        wait(one, 0, 100 * GIB)
        one.wait_s(
            began=10, scan_s=1, cpu_s=0.1, held_before=200 * GIB, held_after=200 * GIB, free_bytes=10**15,
            paid_s=300, reported=reported,
        )  # fmt: skip
        assert one.urgent is urgent


def test_a_pass_without_a_scan_does_not_count_as_no_growth() -> None:
    """Else what came in ten minutes would look as if it had come in ten seconds, and half the budget be kept free."""
    one = timer(1000 * GIB)
    wait(one, 0, 100 * GIB)
    for began in range(10, 600, 10):
        one.wait_s(
            began=began, scan_s=0, cpu_s=0, held_before=100 * GIB, held_after=100 * GIB, free_bytes=10**15,
            paid_s=600 - began, looked=False,
        )  # fmt: skip
    wait(one, 600, 160 * GIB)
    assert one.growth.bytes_s == 60 * GIB / 600


def test_the_page_names_every_metric_and_every_reason() -> None:
    page = DOCS.read_text()
    exposed = re.findall(
        r"^# TYPE llmd_storage_evictor_(\w+?)(?:_created)? ", generate_latest(Metrics().registry).decode(), re.M
    )
    assert exposed and [name for name in exposed if name.removesuffix("_total") not in page] == []
    assert [reason for reason in Reason if reason is not Reason.ASKED and f"`{reason}`" not in page] == []

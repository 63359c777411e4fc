# SPDX-License-Identifier: Apache-2.0
"""A user would lose: everybody's metadata server, to an evictor that lists millions of names over and over."""

from __future__ import annotations

from array import array
from collections import Counter

from llmd_storage_evictor.core.index import Folder
from llmd_storage_evictor.core.scan_plan import Place, ScanPlan

OPS_S = 500.0
FOLDERS, FILES = 1024, 10_000  # ten million
NAMES = array("Q", bytes(8 * FILES))


def cache(changed: int = 0, listed_at: float = 0.0, rescanned_at: float = 0.0) -> list[Place]:
    """The first `changed` folders have changed."""
    return [
        Place(
            "a" * 32,
            f"{number:03x}",
            1 if number < changed else 0,
            Folder(ids=NAMES, listed_at=listed_at, rescanned_at=rescanned_at),
        )
        for number in range(FOLDERS)
    ]


def run(plan: ScanPlan, found: list[Place], seconds: int, every_s: int = 10) -> tuple[float, Counter[str], list[bool]]:
    """Operations, how often each folder was listed, and whether each pass ended a sweep."""
    ops, listed, whole = 0.0, Counter[str](), []
    for now in range(every_s, seconds + 1, every_s):
        if not plan.begin(now, urgent=False):
            continue
        chosen, every_file = plan.choose(found, urgent=False)
        cost = len(found) + sum(one.list_ops() for one in chosen) + sum(one.rescan_ops() for one in every_file)
        plan.done((*chosen, *every_file))
        ops += cost
        for one in (*chosen, *every_file):
            assert one.known
            one.known.listed_at = now
            listed[one.folder] += 1
        for one in every_file:
            assert one.known
            one.known.rescanned_at = now
        whole.append(not plan.sweeping)
    return ops, listed, whole


def test_an_idle_cache_of_ten_million_costs_a_share_of_what_may_be_spent() -> None:
    ops, listed, whole = run(ScanPlan(OPS_S, 60, 3600, 0.0), cache(), 7200)
    assert ops / 7200 < OPS_S / 2, "0.1 + 0.2 of it for what looks unchanged, and a stat of each folder"
    assert all(whole)
    assert len(listed) == FOLDERS, "in two hours each folder was listed, though none seems to have changed"


def test_a_cache_that_changes_everywhere_costs_no_more_and_every_folder_has_its_turn() -> None:
    ops, listed, whole = run(ScanPlan(OPS_S, 60, 3600, 0.0), cache(changed=FOLDERS), 3600)
    assert ops / 3600 < OPS_S * 1.05
    assert max(listed.values()) - min(listed.values()) <= 2 and min(listed.values()) >= 3
    assert 3 <= sum(whole) < len(whole), "several passes make a sweep, and sweeps end"


def test_of_a_few_that_changed_only_these_are_listed() -> None:
    plan = ScanPlan(OPS_S, 1e9, 1e9, 0.0)
    assert plan.begin(10.0, urgent=False)
    chosen, every_file = plan.choose(cache(changed=3), urgent=False)
    assert [one.folder for one in chosen] == ["000", "001", "002"] and every_file == []


def test_a_sweep_ends_though_folders_go_on_to_change() -> None:
    """Else what engines have written would never count as seen."""
    plan, found = ScanPlan(100.0, 1e9, 1e9, 0.0), cache(changed=40)
    ended = 0
    for now in range(10, 1000, 10):
        if plan.begin(now, urgent=False):
            chosen, _ = plan.choose(found, urgent=False)
            for one in chosen:
                assert one.known
                one.known.listed_at = now  # and it has changed again: changed_ns stays another
            plan.done(chosen)
            ended += not plan.sweeping
    assert ended >= 3


def test_what_is_urgent_and_what_is_new_is_listed_whatever_it_costs() -> None:
    plan = ScanPlan(OPS_S, 1e9, 1e9, 0.0)
    assert plan.begin(1.0, urgent=False)
    for _ in range(3):
        plan.choose(cache(changed=FOLDERS), urgent=False)
    assert not plan.begin(1.1, urgent=False) and plan.wait_s() > 0
    assert plan.begin(1.1, urgent=True)
    assert len(plan.choose(cache(changed=FOLDERS), urgent=True)[0]) == FOLDERS
    for _ in range(1000):
        plan.choose(cache(changed=FOLDERS), urgent=True)
    assert plan.begin(60.0, urgent=False), "afterwards scans go on as before"
    new = [Place("a" * 32, "00", 5, None)]
    assert plan.choose(new, urgent=False) == ([], new)

# SPDX-License-Identifier: Apache-2.0
"""A user would lose: what the cache is for, if something pinned, recent, or more than necessary went."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from llmd_storage_evictor.config import Config, NamespaceRule, parse
from llmd_storage_evictor.core import policy
from llmd_storage_evictor.core.policy import (
    NS,
    Entry,
    EvictionTask,
    FreeRoom,
    NamespaceUsage,
    Reason,
    eviction_order,
    pending_tasks,
    select,
)

NOW = 10_000
NAMES = ["a" * 32, "b" * 32, "c" * 32]

blocks = st.lists(
    st.tuples(st.sampled_from(NAMES), st.integers(0, NOW + 500), st.integers(1, 50), st.booleans()), max_size=60
)


def entries_of(found: list[tuple[str, int, int, bool]]) -> list[Entry]:
    made = [
        Entry(eviction_order(at * NS, damaged), name, "damaged" if damaged else "00", id_, at * NS, size, damaged)
        for id_, (name, at, size, damaged) in enumerate(found)
    ]
    return sorted(made)


def usage_of(entries: list[Entry]) -> dict[str, NamespaceUsage]:
    usage = {}
    for name in NAMES:
        own = [entry for entry in entries if entry.namespace == name]
        good = [entry.mtime_ns for entry in own if not entry.damaged]
        usage[name] = NamespaceUsage(
            len(good),
            sum(entry.size for entry in own),
            sum(entry.size for entry in own if entry.damaged),
            min(good, default=0),
            max(good, default=0),
        )
    return usage


def settings(**changes: object) -> Config:
    return parse({"root_dir": "/cache", "budget_bytes": 400, "high_watermark": 0.9, "low_watermark": 0.5} | changes)


rules_of_all = st.fixed_dictionaries(
    {
        name: st.builds(
            NamespaceRule,
            pinned=st.booleans(),
            minimum_bytes=st.integers(0, 100),
            quota_bytes=st.none() | st.integers(100, 300),
        )
        for name in NAMES
    }
)


@given(found=blocks, rules=rules_of_all, pin_s=st.sampled_from([0, 300]),
       free=st.none() | st.integers(0, 500), ttl_s=st.sampled_from([0, 4000]))  # fmt: skip
def test_whatever_is_there_only_what_may_go_goes_and_no_more_than_must(
    found: list[tuple[str, int, int, bool]], rules: dict[str, NamespaceRule], pin_s: int,
    free: int | None, ttl_s: int,
) -> None:  # fmt: skip
    config = settings(pin_younger_s=pin_s, free_floor_bytes=200, ttl_s=ttl_s)
    entries = entries_of(found)
    usage = usage_of(entries)
    for task in pending_tasks(config, rules, usage, FreeRoom(free), NOW * NS):
        chosen = select(task, entries, usage, NOW * NS)
        assert len(set(chosen)) == len(chosen) and set(chosen) <= set(entries)
        freed = sum(entry.size for entry in chosen)
        if task.need_bytes is not None and chosen:
            assert freed - chosen[-1].size < task.need_bytes, "more than needed"
        for entry in chosen:
            if not (entry.damaged and task.damaged):
                assert not rules[entry.namespace].pinned
            if not entry.damaged and pin_s:
                assert NOW * NS - entry.mtime_ns >= pin_s * NS, "younger than the pin"
        for name in NAMES:
            taken = sum(entry.size for entry in chosen if entry.namespace == name and not entry.damaged)
            if taken and task.reason in (Reason.BUDGET, Reason.FLOOR):
                gone = sum(entry.size for entry in chosen if entry.namespace == name)
                assert usage[name].bytes - gone >= rules[name].minimum_bytes


@given(found=blocks, need=st.integers(1, 2000))
def test_nothing_goes_that_was_used_later_than_something_that_stays(
    found: list[tuple[str, int, int, bool]], need: int
) -> None:
    entries = entries_of(found)
    task = EvictionTask(Reason.BUDGET, frozenset(NAMES), need)
    chosen = select(task, entries, usage_of(entries), NOW * NS)
    gone = [entry.mtime_ns for entry in chosen if not entry.damaged]
    kept = [entry.mtime_ns for entry in entries if entry not in chosen and not entry.damaged]
    if gone and kept:
        assert max(gone) <= min(kept)
    assert sum(entry.size for entry in chosen) >= min(need, sum(entry.size for entry in entries)), "too little"


def test_within_the_budget_nothing_is_to_be_done() -> None:
    held = NamespaceUsage(10, 360, 0, NOW * NS, NOW * NS)
    assert pending_tasks(settings(), {NAMES[0]: NamespaceRule()}, {NAMES[0]: held}, FreeRoom(), NOW * NS) == []


def test_the_reasons_come_in_order_and_say_how_much() -> None:
    rules = {NAMES[0]: NamespaceRule(quota_bytes=100), NAMES[1]: NamespaceRule(minimum_bytes=50)}
    usage = {NAMES[0]: NamespaceUsage(9, 300, 10, 0, NOW * NS), NAMES[1]: NamespaceUsage(9, 200, 0, 0, NOW * NS)}
    todo = pending_tasks(settings(ttl_s=100, free_floor_bytes=70), rules, usage, FreeRoom(20), NOW * NS)
    assert [(task.reason, task.need_bytes) for task in todo] == [
        (Reason.DAMAGED, None), (Reason.TTL, None), (Reason.QUOTA, 250), (Reason.BUDGET, 300), (Reason.FLOOR, 50),
    ]  # fmt: skip


def test_a_block_from_the_future_is_not_taken_for_an_old_one() -> None:
    """A node whose clock is ahead must not lose its blocks to a time to live."""
    entries = entries_of([(NAMES[0], NOW + 100, 5, False)])
    task = EvictionTask(Reason.TTL, frozenset(NAMES), None, 1.0)
    assert select(task, entries, usage_of(entries), NOW * NS) == []


def test_namespaces_that_nobody_uses_are_named_but_never_pinned_ones() -> None:
    config = settings(namespace_unused_s=1000)
    old, new = NamespaceUsage(1, 5, 0, 0, 5000 * NS), NamespaceUsage(1, 5, 0, 0, (NOW - 10) * NS)
    usage = dict(zip(NAMES, (old, old, new), strict=True))
    rules = {NAMES[0]: NamespaceRule(), NAMES[1]: NamespaceRule(pinned=True), NAMES[2]: NamespaceRule()}
    assert policy.unused_namespaces(usage, rules, dict.fromkeys(NAMES, 0), config, NOW * NS) == [NAMES[0]]
    assert policy.unused_namespaces(usage, rules, dict.fromkeys(NAMES, NOW * NS), config, NOW * NS) == []
    assert policy.unused_namespaces(usage, rules, {}, config, NOW * NS) == [], "could not be looked at: left alone"


def test_rules_match_by_folder_and_by_model_and_the_first_wins() -> None:
    config = settings(
        namespaces=[{"namespace": "ab", "pinned": True}, {"model": "Qwen/*", "quota_bytes": "1Ki"}, {"ttl_s": 5}]
    )
    assert policy.rule_for(config.namespaces, "ab" * 16, "Qwen/Qwen3").pinned
    assert policy.rule_for(config.namespaces, "cd" * 16, "Qwen/Qwen3").quota_bytes == 1024
    assert policy.rule_for(config.namespaces, "cd" * 16, "other").ttl_s == 5


def test_readers_are_told_to_refresh_finer_than_the_age_at_which_blocks_go(tmp_path: Path) -> None:
    config = settings()
    assert policy.touch_after_s(config, 80) == 10
    assert policy.touch_after_s(config, 1e9) == 3600
    assert policy.touch_after_s(config, 0.1) == 1
    assert policy.touch_after_s(settings(touch_after_s=77), 5) == 77

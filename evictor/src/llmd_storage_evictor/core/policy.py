# SPDX-License-Identifier: Apache-2.0
"""What to remove, and in which order. Pure: sizes and ages in, tasks and entries out.

Order: least recently used first, by the file's mtime, which readers refresh. Format 1 does not record how deep a
block lies in its prefix chain. Guessing the depth from mtimes was tried (docs/evictor.md) and gave no more hits in
replays, often fewer: when the beginning of a chain is evicted first, the rest is next in line anyway.

Amount: a task removes no more than it needs. It ends with the block that satisfies it.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

from llmd_storage_evictor.config import Config, NamespaceRule

NS = 1_000_000_000


class Reason(StrEnum):
    """Why something is removed: a metric label, and a field of the journal."""

    DAMAGED = "damaged"
    TTL = "ttl"
    QUOTA = "quota"
    BUDGET = "budget"
    FLOOR = "floor"
    INODES = "inodes"
    UNUSED = "unused"
    SCRATCH = "scratch"
    PROBE = "probe"
    ASKED = "asked"


class Entry(NamedTuple):
    """One block file, as last seen. folder: its name in the namespace. id: names.file_id of its name. size: bytes."""

    order: int
    namespace: str
    folder: str
    id: int
    mtime_ns: int
    size: int
    damaged: bool


class FreeRoom(NamedTuple):
    """Bytes and files that are free; None: not checked, or removing makes no room."""

    bytes: int | None = None
    files: int | None = None


class NamespaceUsage(NamedTuple):
    """Totals of a namespace. bytes includes damaged_bytes. oldest_ns, newest_ns: mtimes of its blocks."""

    files: int
    bytes: int
    damaged_bytes: int
    oldest_ns: int
    newest_ns: int


@dataclass(frozen=True, slots=True)
class EvictionTask:
    """One reason to remove blocks of some namespaces.

    need_bytes, need_files: how much to free; both None: all that is old enough. older_than_s: younger blocks stay.
    keep_bytes: the minimum of a namespace. damaged: only damaged files (True), only blocks (False), or both (None).
    """

    reason: Reason
    namespaces: frozenset[str]
    need_bytes: int | None = None
    older_than_s: float = 0.0
    keep_bytes: Mapping[str, int] | None = None
    damaged: bool | None = None
    need_files: int | None = None

    def satisfied(self, freed_bytes: int, freed_files: int) -> bool:
        """Whether this is enough."""
        if self.need_files is not None:
            return freed_files >= self.need_files
        return self.need_bytes is not None and freed_bytes >= self.need_bytes

    @property
    def name(self) -> tuple[Reason, str]:
        """Identifies the task: the reason, and the namespace of a quota."""
        return self.reason, min(self.namespaces) if self.reason is Reason.QUOTA else ""


def eviction_order(mtime_ns: int, damaged: bool = False) -> int:
    """Sort key of eviction, lowest first: damaged files, then blocks by last use."""
    return mtime_ns - (1 << 64) if damaged else mtime_ns


# Nothing of it is removed until its model is known: it may be the one that a rule pins.
UNKNOWN_MODEL = NamespaceRule(pinned=True)
_NO_RULE = NamespaceRule()


def rule_for(rules: Sequence[NamespaceRule], namespace: str, model: str | None) -> NamespaceRule:
    """The first rule that matches; an empty rule when none does.

    model: None when it is not known. UNKNOWN_MODEL when the answer depends on it.
    """
    for rule in rules:
        if rule.namespace is not None and not namespace.startswith(rule.namespace):
            continue
        if rule.model is not None:
            if model is None:
                return UNKNOWN_MODEL
            if not fnmatch.fnmatchcase(model, rule.model):
                continue
        return rule
    return _NO_RULE


def protected_by(rule: NamespaceRule, others: Sequence[NamespaceRule]) -> NamespaceRule:
    """The rule, with what other releases protect of the same namespace: any pin, the largest minimum."""
    return replace(
        rule,
        pinned=rule.pinned or any(one.pinned for one in others),
        minimum_bytes=max(rule.minimum_bytes, *(one.minimum_bytes for one in others)) if others else rule.minimum_bytes,
    )


def pending_tasks(
    config: Config,
    rules: Mapping[str, NamespaceRule],
    usage: Mapping[str, NamespaceUsage],
    free: FreeRoom,
    now_ns: int,
    *,
    in_progress: Collection[tuple[Reason, str]] = (),
    reserved_bytes: int = 0,
    unlisted_bytes: int = 0,
    takeover_bytes: int = 0,
) -> list[EvictionTask]:
    """What to do now, in order; empty when all limits hold.

    free: of the filesystem, pending frees counted in. in_progress: names of the tasks that
    have started: they end at the low watermark instead of the high one. reserved_bytes: room that the budget task
    also makes, for writes that are granted or wait. unlisted_bytes: written, and in no listing yet.
    takeover_bytes: takeover_room() of what grows.
    Requires: after each task, the caller asks again with fresh usage.
    """
    found = _by_age(config, rules, usage, now_ns)
    evictable = frozenset(name for name in usage if not rules[name].pinned)
    for name in sorted(evictable):
        quota = rules[name].quota_bytes
        if quota is not None:
            need = _bytes_over(config, usage[name].bytes, quota, (Reason.QUOTA, name) in in_progress)
            found += [EvictionTask(Reason.QUOTA, frozenset({name}), need, config.pin_younger_s)] if need > 0 else []
    keep = {name: rules[name].minimum_bytes for name in evictable if rules[name].minimum_bytes}
    total = sum(held.bytes for held in usage.values()) + unlisted_bytes
    for reason, need in (
        (
            Reason.BUDGET,
            _bytes_over(
                config,
                total,
                config.effective_budget_bytes,
                (Reason.BUDGET, "") in in_progress,
                reserved_bytes=reserved_bytes,
                takeover_bytes=takeover_bytes,
            ),
        ),
        (Reason.FLOOR, _bytes_below_floor(config, free.bytes)),
        (Reason.INODES, _files_below_floor(config, free.files, sum(held.files for held in usage.values()))),
    ):
        if need > 0:
            shrinkable = frozenset(name for name in evictable if usage[name].bytes > keep.get(name, 0))
            bytes_, files = (None, need) if reason is Reason.INODES else (need, None)
            found.append(EvictionTask(reason, shrinkable, bytes_, config.pin_younger_s, keep, need_files=files))
    return found


# Within this time another process leads, after a leader was killed (leader.file_lease, leader.lease).
_TAKEOVER_S = 15.0
_MOST_FOR_TAKEOVER = 0.5  # share of the budget


def takeover_room(budget_bytes: int, unreported_bytes_s: float) -> int:
    """Bytes below the budget at which removal begins at the latest, so that it holds while one leader follows another.

    unreported_bytes_s: how fast the cache grows by writers that obey no grants. At most half of the budget: what grows
    faster than that can pass it.
    """
    return int(min(budget_bytes * _MOST_FOR_TAKEOVER, unreported_bytes_s * _TAKEOVER_S))


def high_mark(config: Config, limit: int, takeover_bytes: int = 0) -> int:
    """Bytes at which removal begins, of a limit."""
    return min(int(limit * config.high_watermark), limit - takeover_bytes)


def _bytes_over(
    config: Config, held: int, limit: int, in_progress: bool, *, reserved_bytes: int = 0, takeover_bytes: int = 0
) -> int:
    """Bytes over the low watermark, when removal should start or go on; else 0."""
    high = high_mark(config, limit, takeover_bytes)
    low = min(high - int(limit * (config.high_watermark - config.low_watermark)), limit - reserved_bytes)
    return max(0, held - low) if in_progress or held > high else 0


def _bytes_below_floor(config: Config, free_bytes: int | None) -> int:
    return 0 if free_bytes is None else config.effective_free_floor_bytes - free_bytes


def _files_below_floor(config: Config, free_files: int | None, held_files: int) -> int:
    return 0 if free_files is None else config.effective_free_floor_files(held_files) - free_files


def _by_age(
    config: Config, rules: Mapping[str, NamespaceRule], usage: Mapping[str, NamespaceUsage], now_ns: int
) -> list[EvictionTask]:
    damaged = frozenset(name for name, held in usage.items() if held.damaged_bytes)
    found = [EvictionTask(Reason.DAMAGED, damaged, None, config.damaged_keep_s, damaged=True)] if damaged else []
    by_ttl: dict[float, set[str]] = {}
    for name, held in usage.items():
        ttl_s = config.ttl_s if (own := rules[name].ttl_s) is None else own
        ttl_s = max(ttl_s, config.pin_younger_s) if ttl_s else 0.0
        if ttl_s and not rules[name].pinned and held.files and now_ns - held.oldest_ns > ttl_s * NS:
            by_ttl.setdefault(ttl_s, set()).add(name)
    for ttl_s, names in sorted(by_ttl.items()):
        found.append(EvictionTask(Reason.TTL, frozenset(names), None, ttl_s, damaged=False))
    return found


def select(
    task: EvictionTask, entries: Iterable[Entry], usage: Mapping[str, NamespaceUsage], now_ns: int
) -> list[Entry]:
    """The entries to remove.

    Requires: entries in eviction order, each at most once. Ensures: what is needed is freed if the entries allow it,
    but not without the last one; nothing younger than older_than_s, of another namespace, or below keep_bytes. A block
    with an mtime in the future (a clock that is ahead) counts as youngest, and is selected last.
    """
    selected: list[Entry] = []
    left = {name: usage[name].bytes for name in task.namespaces if name in usage}
    keep = task.keep_bytes or {}
    freed = 0
    for entry in entries:
        if task.satisfied(freed, len(selected)):
            break
        if entry.namespace not in task.namespaces or (task.damaged is not None and entry.damaged != task.damaged):
            continue
        # Damaged files serve nobody: minimums and pin_younger_s do not protect them.
        exempt = entry.damaged and task.damaged is None
        if not exempt:
            if task.older_than_s and now_ns - entry.mtime_ns < task.older_than_s * NS:
                continue
            if left.get(entry.namespace, 0) - entry.size < keep.get(entry.namespace, 0):
                continue
        left[entry.namespace] = left.get(entry.namespace, 0) - entry.size
        freed += entry.size
        selected.append(entry)
    return selected


def touch_after_s(config: Config, oldest_age_s: float) -> float:
    """How old a block's mtime may get before a reader should refresh it, in seconds.

    Rare refreshes are cheap, but LRU cannot order uses that are closer together than this. It is an eighth of the age
    at which blocks are removed, between a second and an hour.
    """
    return config.touch_after_s or min(3600.0, max(1.0, oldest_age_s / 8))


def unused_namespaces(
    usage: Mapping[str, NamespaceUsage],
    rules: Mapping[str, NamespaceRule],
    last_used_ns: Mapping[str, int],
    config: Config,
    now_ns: int,
) -> Sequence[str]:
    """Namespaces without a read or write for namespace_unused_s. last_used_ns: of their folders and manifests."""
    if not config.namespace_unused_s:
        return []
    return [
        name
        for name, held in sorted(usage.items())
        if not rules[name].pinned
        and now_ns - max(held.newest_ns, last_used_ns.get(name, now_ns)) > config.namespace_unused_s * NS
    ]

# SPDX-License-Identifier: Apache-2.0
"""What has to go, and in which order. Pure: sizes and ages in, tasks and blocks out.

Order. Least recently used first, by the file's mtime, which readers refresh. Format 1 does not say how deep a block
lies in its prefix chain. Guessing it from time was tried (docs/evictor.md) and found no more in replays, and often
less: of a chain whose beginning goes first, the rest is next in line anyway.

Force. A task takes no more than it needs: it ends with the block that satisfies it.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from llmd_storage_evictor.config import Config, NamespaceRule

NS = 1_000_000_000


class Reason(StrEnum):
    """Why something is removed: a label of metrics, a word of the journal."""

    DAMAGED = "damaged"
    TTL = "ttl"
    QUOTA = "quota"
    BUDGET = "budget"
    FLOOR = "floor"
    UNUSED = "unused"
    SCRATCH = "scratch"
    PROBE = "probe"
    ASKED = "asked"


class Entry(NamedTuple):
    """One block file, as last seen. folder: its name in the namespace; id: names.block_id of its name."""

    order: int
    namespace: str
    folder: str
    id: int
    mtime_ns: int
    size: int
    damaged: bool


class NamespaceUsage(NamedTuple):
    """What a namespace holds, in files and bytes, damaged ones included; oldest_ns: least mtime of its blocks."""

    files: int
    bytes: int
    damaged_bytes: int
    oldest_ns: int
    newest_ns: int


@dataclass(frozen=True, slots=True)
class Task:
    """One reason to remove blocks of some namespaces.

    need_bytes: to be freed; None: every block that is old enough. older_than_s: younger blocks stay.
    keep_bytes: of a namespace, below which it is not shrunk. damaged: whether damaged files are taken, blocks are,
    or both (None).
    """

    reason: Reason
    namespaces: frozenset[str]
    need_bytes: int | None = None
    older_than_s: float = 0.0
    keep_bytes: Mapping[str, int] | None = None
    damaged: bool | None = None

    @property
    def name(self) -> tuple[Reason, str]:
        """The reason, and whose quota it is about."""
        return self.reason, min(self.namespaces) if self.reason is Reason.QUOTA else ""


def eviction_order(mtime_ns: int, damaged: bool = False) -> int:
    """Whole number by which files are removed, least first: damaged ones, then blocks by their last use."""
    return mtime_ns - (1 << 64) if damaged else mtime_ns


def rule_for(config: Config, namespace: str, model: str) -> NamespaceRule:
    """The first rule that matches; the empty rule when none does."""
    for rule in config.namespaces:
        if rule.namespace is not None and not namespace.startswith(rule.namespace):
            continue
        if rule.model is not None and not fnmatch.fnmatchcase(model, rule.model):
            continue
        return rule
    return NamespaceRule()


def tasks(
    config: Config,
    rules: Mapping[str, NamespaceRule],
    usage: Mapping[str, NamespaceUsage],
    free_bytes: int | None,
    now_ns: int,
    *,
    begun: Collection[tuple[Reason, str]] = (),
    ahead_bytes: int = 0,
) -> list[Task]:
    """What has to be done now, in the order in which to do it; empty when all is well.

    free_bytes: of the filesystem, what was just removed counted in; None when it is not looked at. begun: tasks (as
    Task.name says) that went on until now: they end at the low watermark, not at the high one. ahead_bytes: what is
    about to be written; removal for the budget, once begun, makes room for it.
    Requires: a task is carried out, and the shares are looked at again, before the tasks after it are believed.
    """
    found = _by_age(config, rules, usage, now_ns)
    open_to = frozenset(name for name in usage if not rules[name].pinned)
    for name in sorted(open_to):
        quota = rules[name].quota_bytes
        if quota is not None:
            need = _excess(config, usage[name].bytes, quota, (Reason.QUOTA, name) in begun)
            found += [Task(Reason.QUOTA, frozenset({name}), need, config.pin_younger_s)] if need > 0 else []
    keep = {name: rules[name].minimum_bytes for name in open_to if rules[name].minimum_bytes}
    total = sum(held.bytes for held in usage.values())
    for reason, need in (
        (Reason.BUDGET, _excess(config, total, config.budget_bytes, (Reason.BUDGET, "") in begun, ahead_bytes)),
        (Reason.FLOOR, _below_floor(config, free_bytes)),
    ):
        if need > 0:
            able = frozenset(name for name in open_to if usage[name].bytes > keep.get(name, 0))
            found.append(Task(reason, able, need, config.pin_younger_s, keep))
    return found


def _excess(config: Config, held: int, limit: int, begun: bool, ahead_bytes: int = 0) -> int:
    """Bytes over the low watermark, if removal is to begin or to go on; else 0."""
    low = min(int(limit * config.low_watermark), limit - ahead_bytes)
    return max(0, held - low) if begun or held > limit * config.high_watermark else 0


def _below_floor(config: Config, free_bytes: int | None) -> int:
    return 0 if free_bytes is None else config.free_floor_bytes - free_bytes


def _by_age(
    config: Config, rules: Mapping[str, NamespaceRule], usage: Mapping[str, NamespaceUsage], now_ns: int
) -> list[Task]:
    damaged = frozenset(name for name, held in usage.items() if held.damaged_bytes)
    found = [Task(Reason.DAMAGED, damaged, None, config.damaged_keep_s, damaged=True)] if damaged else []
    by_ttl: dict[float, set[str]] = {}
    for name, held in usage.items():
        ttl_s = config.ttl_s if (own := rules[name].ttl_s) is None else own
        ttl_s = max(ttl_s, config.pin_younger_s) if ttl_s else 0.0
        if ttl_s and not rules[name].pinned and held.files and now_ns - held.oldest_ns > ttl_s * NS:
            by_ttl.setdefault(ttl_s, set()).add(name)
    for ttl_s, names in sorted(by_ttl.items()):
        found.append(Task(Reason.TTL, frozenset(names), None, ttl_s, damaged=False))
    return found


def choose(task: Task, entries: Iterable[Entry], usage: Mapping[str, NamespaceUsage], now_ns: int) -> list[Entry]:
    """The entries to remove.

    Requires: entries in order of rank, each at most once. Ensures: at least need_bytes are freed if the entries allow
    it, and without the last of them less would be; nothing younger than older_than_s, of another namespace, or beyond
    keep_bytes. A block from the future (a clock that is ahead) is as young as can be; need alone still takes it, last.
    """
    chosen: list[Entry] = []
    left = {name: usage[name].bytes for name in task.namespaces if name in usage}
    keep = task.keep_bytes or {}
    freed = 0
    for entry in entries:
        if task.need_bytes is not None and freed >= task.need_bytes:
            break
        if entry.namespace not in task.namespaces or (task.damaged is not None and entry.damaged != task.damaged):
            continue
        # Damaged files are no cache: neither minimum nor pin by age keeps them from making room.
        exempt = entry.damaged and task.damaged is None
        if not exempt:
            if task.older_than_s and now_ns - entry.mtime_ns < task.older_than_s * NS:
                continue
            if left.get(entry.namespace, 0) - entry.size < keep.get(entry.namespace, 0):
                continue
        left[entry.namespace] = left.get(entry.namespace, 0) - entry.size
        freed += entry.size
        chosen.append(entry)
    return chosen


def touch_after_s(config: Config, oldest_age_s: float) -> float:
    """How old a block's time may get before a reader should refresh it.

    Rare refreshes are cheap, but blocks are told apart by age only down to this: it stays an eighth of the age
    at which blocks are removed, within a second and an hour.
    """
    return config.touch_after_s or min(3600.0, max(1.0, oldest_age_s / 8))


def unused(usage: Mapping[str, NamespaceUsage], rules: Mapping[str, NamespaceRule], last_used_ns: Mapping[str, int],
           config: Config, now_ns: int) -> Sequence[str]:  # fmt: skip
    """Namespaces that nobody has read or written for namespace_unused_s. last_used_ns: of their manifests."""
    if not config.namespace_unused_s:
        return []
    return [
        name
        for name, held in sorted(usage.items())
        if not rules[name].pinned
        and now_ns - max(held.newest_ns, last_used_ns.get(name, now_ns)) > config.namespace_unused_s * NS
    ]

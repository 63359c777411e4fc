# SPDX-License-Identifier: Apache-2.0
"""What the log says of limits: those that cannot be held, and those of others."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from llmd_storage_connector.telemetry.rate_limited_log import RateLimitedLog
from llmd_storage_evictor.core import policy
from llmd_storage_evictor.core.policy import Entry, EvictionTask
from llmd_storage_evictor.core.scan_timer import ScanTimer
from llmd_storage_evictor.sizes import show_bytes

_ANY_RATE = float("inf")


def not_removed(log: RateLimitedLog, task: EvictionTask, entries: Sequence[Entry], *, dry_run: bool) -> None:
    """A task after which nothing was removed."""
    if dry_run:
        text, size = "dry run: would remove %d files, %d bytes (%s)", sum(entry.size for entry in entries)
        log.log(logging.WARNING, f"dry run {task.reason}", text, len(entries), size, task.reason)
    elif need := task.need_bytes or task.need_files:
        text = "%d %s over the limit (%s), but what is left is pinned, within its minimum, or cannot be removed"
        unit = "bytes" if task.need_bytes else "files"
        log.log(logging.WARNING, f"not removed {task.reason}", text, need, unit, task.reason)


def small_budget(log: RateLimitedLog, timer: ScanTimer, budget_bytes: int) -> None:
    """A budget that is small for the rate at which the cache grows."""
    if timer.growth.bytes_s and timer.takeover_bytes == policy.takeover_room(budget_bytes, _ANY_RATE):
        text = (
            "the cache grows by %s a second, by writers that obey no grants, which is much for a budget of %s: while "
            "one leader follows another it may be passed; raise budget_bytes"
        )
        log.log(logging.WARNING, "small budget", text, show_bytes(timer.growth.bytes_s), show_bytes(budget_bytes))


def others_budget(own_bytes: int, agreed_bytes: int, whose: str) -> str:
    """Whose budget counts; "" when it is this release's own."""
    if not whose:
        return ""
    return (
        f"the cache is kept within {show_bytes(agreed_bytes)}, the budget that {whose} states, and not the "
        f"{show_bytes(own_bytes)} of this release: of several releases on one cache the smallest counts; set "
        "budget_bytes alike in all of them"
    )

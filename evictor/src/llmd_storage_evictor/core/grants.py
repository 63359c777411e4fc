# SPDX-License-Identifier: Apache-2.0
"""Write grants: how many bytes each engine may write, so that all together stay within the budget. Pure.

An engine's grant is a limit on the bytes it has written in total since its start. A limit is only ever raised, so it
does not matter when an engine reads it, or when its writes become visible. At any time

    bytes held at the last scan + what each engine may still write since then <= budget

where "since then" counts from what the engine had reported before that scan began.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from llmd_storage_evictor.config import Config

# Shares of the budget.
# What an engine may write before it has a grant of its own.
_NEW_ENGINE_SHARE = 0.01
# The least that all engines together are granted beyond what they have written, whatever the watermarks are.
_MIN_UNUSED_SHARE = 0.02
# The most that all engines together are granted for blocks that wait, and the most room that is made for them at once.
# A larger share lets more be written a second (each grant takes about a second on a busy machine), and keeps less.
_MAX_UNUSED_SHARE = 0.2


class EngineReport(NamedTuple):
    """What an engine reports. written: bytes since its start. waiting: bytes queued for writing."""

    written: int
    waiting: int


def new_engine_bytes(config: Config) -> int:
    """The limit of an engine without a grant, in bytes."""
    return int(config.effective_budget_bytes * _NEW_ENGINE_SHARE)


def limits(
    config: Config,
    held_bytes: int,
    written_at_scan: Mapping[str, int],
    reports: Mapping[str, EngineReport],
    previous: Mapping[str, int],
) -> dict[str, int]:
    """New limits in bytes, by engine.

    held_bytes: in the cache at the last scan, less what was removed since. written_at_scan: what each engine had
    reported before that scan began. previous: the limits until now.
    Ensures: no limit is lowered; the sum in the module's docstring exceeds the budget only as far as it did before.
    """
    new_engine = new_engine_bytes(config)
    now = {name: previous.get(name, new_engine) for name in reports}
    outstanding = sum(limit - written_at_scan.get(name, 0) for name, limit in now.items())
    spare = config.effective_budget_bytes - new_engine - held_bytes - outstanding
    most = _max_unused_bytes(config) // max(1, len(reports))
    least = int(_min_unused_bytes(config) / max(1, len(reports)))
    wanted = {
        name: max(0, one.written + max(least, min(one.waiting, most)) - now[name]) for name, one in reports.items()
    }
    # One engine after the other, least written first: equal parts might each be smaller than a block.
    for name in sorted(reports, key=lambda one: (reports[one].written, one)):
        raised = max(0, min(wanted[name], spare))
        now[name] += raised
        spare -= raised
    return now


def written_since_scan(written_at_scan: Mapping[str, int], reports: Mapping[str, EngineReport]) -> int:
    """Bytes that engines have reported since the last scan began."""
    return sum(max(0, one.written - written_at_scan.get(name, 0)) for name, one in reports.items())


def has_shortage(reports: Mapping[str, EngineReport], granted: Mapping[str, int]) -> bool:
    """Whether an engine has more waiting than its grant has left."""
    return any(one.waiting > granted.get(name, 0) - one.written for name, one in reports.items())


def reserved_bytes(config: Config, reports: Mapping[str, EngineReport], granted: Mapping[str, int]) -> int:
    """Bytes of the budget to keep free: for unused grants, and for what waits beyond them."""
    unused = {name: max(0, granted.get(name, 0) - one.written) for name, one in reports.items()}
    lacking = sum(max(0, one.waiting - unused[name]) for name, one in reports.items())
    total = sum(unused.values())
    return new_engine_bytes(config) + total + min(
        lacking, max(_max_unused_bytes(config) - total, int(_min_unused_bytes(config)))
    )  # fmt: skip


def runs_low(config: Config, reports: Mapping[str, EngineReport], granted: Mapping[str, int]) -> bool:
    """Whether an engine has used up half of its minimum unused grant."""
    least = _min_unused_bytes(config) / max(1, len(reports))
    return any(2 * (granted.get(name, 0) - one.written) < least for name, one in reports.items())


def _min_unused_bytes(config: Config) -> float:
    return max(_MIN_UNUSED_SHARE, 1 - config.high_watermark) * config.effective_budget_bytes


def _max_unused_bytes(config: Config) -> int:
    return int(_MAX_UNUSED_SHARE * config.effective_budget_bytes)

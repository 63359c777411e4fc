# SPDX-License-Identifier: Apache-2.0
"""How much each engine may write, so that all together cannot exceed the budget. Pure.

An engine's limit is to the bytes that it has written in all since its start. It is only ever raised, so it does not
matter when an engine reads it, or when what it wrote is seen: at any time

    bytes held at the last look + what each engine may still write since then <= budget

since what an engine may still write counts from what it had reported before that look began.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from llmd_storage_evictor.config import Config

# Of the budget: what an engine that is not listed yet may begin with.
_NEWCOMER_SHARE = 0.01
# Of the budget: what all engines together are granted ahead of their needs, however the watermarks are set.
_LEAST_AHEAD_SHARE = 0.02
# Of the budget: how much is granted to blocks that wait, by all engines together, and how much room is made for them at
# once. More lets more be written a second (each time takes a second or so on a busy machine), and less be kept
# meanwhile.
_MOST_AHEAD_SHARE = 0.2


class Writer(NamedTuple):
    """What an engine reports: bytes written since its start, bytes that wait to be."""

    written: int
    waiting: int


def newcomer_bytes(config: Config) -> int:
    """The limit of an engine that is not listed."""
    return int(config.budget_bytes * _NEWCOMER_SHARE)


def limits(
    config: Config, held: int, seen: Mapping[str, int], writers: Mapping[str, Writer], before: Mapping[str, int]
) -> dict[str, int]:
    """New limits.

    held: bytes in the cache, as of the last look; seen: what each engine had reported before that look began;
    before: the limits that were set until now. Ensures: no limit is lower than before; the sum in the module's head
    exceeds the budget only as far as it did before.
    """
    newcomer = newcomer_bytes(config)
    now = {name: before.get(name, newcomer) for name in writers}
    ahead = sum(limit - seen.get(name, 0) for name, limit in now.items())
    spare = config.budget_bytes - newcomer - held - ahead
    most = _most_bytes(config) // max(1, len(writers))
    least = int(_least_bytes(config) / max(1, len(writers)))
    wanted = {
        name: max(0, one.written + max(least, min(one.waiting, most)) - now[name]) for name, one in writers.items()
    }
    # One after the other, who has written least first: a part for each might be less than a block for all.
    for name in sorted(writers, key=lambda one: (writers[one].written, one)):
        given = max(0, min(wanted[name], spare))
        now[name] += given
        spare -= given
    return now


def unseen(seen: Mapping[str, int], writers: Mapping[str, Writer]) -> int:
    """Bytes that engines have reported since the last look began."""
    return sum(max(0, one.written - seen.get(name, 0)) for name, one in writers.items())


def short(writers: Mapping[str, Writer], granted: Mapping[str, int]) -> bool:
    """Whether an engine has more to write than it may."""
    return any(one.waiting > granted.get(name, 0) - one.written for name, one in writers.items())


def room_wanted(config: Config, writers: Mapping[str, Writer], granted: Mapping[str, int]) -> int:
    """Bytes of the budget to be left free: for what is granted and not used, and for what waits beyond that."""
    unused = {name: max(0, granted.get(name, 0) - one.written) for name, one in writers.items()}
    lacking = sum(max(0, one.waiting - unused[name]) for name, one in writers.items())
    ahead = sum(unused.values())
    return newcomer_bytes(config) + ahead + min(lacking, max(_most_bytes(config) - ahead, int(_least_bytes(config))))


def runs_low(config: Config, writers: Mapping[str, Writer], granted: Mapping[str, int]) -> bool:
    """Whether an engine has used up half of what it is granted ahead."""
    least = _least_bytes(config) / max(1, len(writers))
    return any(2 * (granted.get(name, 0) - one.written) < least for name, one in writers.items())


def _least_bytes(config: Config) -> float:
    """What all engines together are granted ahead of their needs."""
    return max(_LEAST_AHEAD_SHARE, 1 - config.high_watermark) * config.budget_bytes


def _most_bytes(config: Config) -> int:
    return int(_MOST_AHEAD_SHARE * config.budget_bytes)

# SPDX-License-Identifier: Apache-2.0
"""What is known about blocks, across requests: there, or not there, and since when."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass

# How long knowledge is believed. "There" ends by eviction, which a failed load reveals at the price of one
# recomputed prefix; "not there" ends when any other pod stores the block.
PRESENT_S = 300.0
ABSENT_S = 2.0
# About 110 bytes each: the prefixes of eighty prompts of 100 000 tokens in blocks of 16.
MAX_ENTRIES = 500_000


@dataclass(frozen=True, slots=True)
class CachedLookup:
    """reason: why the block cannot be had ("" when it can); at: when this was learnt.

    inferred: from its neighbours in the prefix, not seen: good enough to try, not to skip storing it.
    """

    present: bool
    reason: str
    at: float
    inferred: bool = False

    def is_fresh(self, now: float) -> bool:
        """Whether a request that just came may rely on it."""
        return now - self.at < (PRESENT_S if self.present else ABSENT_S)


class LookupCache:
    """Bounded; the oldest entry goes first.

    Thread: any (one lock, held for a few dictionary operations).
    """

    def __init__(self, maximum: int = MAX_ENTRIES) -> None:
        self._lock = threading.Lock()
        self._maximum = maximum
        self._entries: dict[bytes, CachedLookup] = {}

    def get(self, key: bytes) -> CachedLookup | None:
        """What was found last, however long ago. No lock: one read of a dictionary is whole by itself."""
        return self._entries.get(key)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()

    def put(self, key: bytes, found: CachedLookup) -> None:
        """Replace what is known."""
        self.put_all((key,), found)

    def put_all(self, keys: Iterable[bytes], found: CachedLookup) -> None:
        """Replace what is known of all of these."""
        with self._lock:
            for key in keys:
                self._entries.pop(key, None)
                self._entries[key] = found
            while len(self._entries) > self._maximum:
                del self._entries[next(iter(self._entries))]

# SPDX-License-Identifier: Apache-2.0
"""How many bytes this engine may write, so that all engines together stay within the cache's budget. Pure.

The evictor sets a limit to the bytes that an engine has written in all since its start, and raises it as there is
room. A limit is never lowered, so one that is read late is only too small. Without an evictor there is no limit. Until
it is known whether there is one, nothing is written.

    field | owner | guarded by
    all   | any   | _lock
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

# An engine that could not report for so long is soon taken for dead, and what it was granted given to others.
VOID_S = 60.0


class WriteBudget:
    """Thread: any; never waits for storage."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._limit: int | None = None
        self._known = False
        self._spare = 0  # granted and not used when the limit was last learnt
        self._taken = 0
        self._reported_at = float("-inf")
        self.written = 0
        self.is_exhausted = False

    def reserve(self, size: int) -> bool:
        """Whether so many bytes may be written now; they then count as taken until settle()."""
        with self._lock:
            if not self._known:
                return False
            if self._limit is not None:
                late = self._clock() - self._reported_at > VOID_S
                self.is_exhausted = late or self._taken + size > self._limit
                if self.is_exhausted:
                    return False
            self._taken += size
            return True

    def settle(self, size: int, written: bool) -> None:
        """What was reserved was written, or will not be."""
        with self._lock:
            if written:
                self.written += size
            else:
                self._taken -= size

    def update(self, limit: int | None) -> bool:
        """limit: None when nobody sets one. Returns: whether there is more than before."""
        with self._lock:
            more = not self._known or limit is None or self._limit is None or limit > self._limit
            self._known = True
            if more:
                self._limit = limit
                self._spare = 0 if limit is None else limit - self._taken
                self.is_exhausted = False
            return more

    def reported(self, began: float) -> None:
        """The evictor can read what was written; began: before that was written down."""
        with self._lock:
            self._reported_at = began

    @property
    def is_known(self) -> bool:
        """Whether anything was learnt yet."""
        with self._lock:
            return self._known

    @property
    def is_low(self) -> bool:
        """Whether half of what was granted is used up: time to tell the evictor."""
        with self._lock:
            return self._limit is not None and (self.is_exhausted or 2 * (self._limit - self._taken) < self._spare)

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
MAX_VERDICTS = 200_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """reason: why the block cannot be had ("" when it can); at: when this was learnt.

    inferred: from its neighbours in the chain, not seen: good enough to try, not to skip storing it.
    """

    present: bool
    reason: str
    at: float
    inferred: bool = False

    def is_fresh(self, now: float) -> bool:
        """Whether a request that just came may rely on it."""
        return now - self.at < (PRESENT_S if self.present else ABSENT_S)


class VerdictCache:
    """Bounded; the oldest entry goes first.

    Thread: any (one lock, held for a few dictionary operations).
    """

    def __init__(self, maximum: int = MAX_VERDICTS) -> None:
        self._lock = threading.Lock()
        self._maximum = maximum
        self._verdicts: dict[bytes, Verdict] = {}

    def get(self, key: bytes) -> Verdict | None:
        """The latest verdict, however old. No lock: one look-up in a dictionary is whole by itself."""
        return self._verdicts.get(key)

    def put(self, key: bytes, verdict: Verdict) -> None:
        """Replace what is known."""
        self.put_all((key,), verdict)

    def put_all(self, keys: Iterable[bytes], verdict: Verdict) -> None:
        """Replace what is known of all of these."""
        with self._lock:
            for key in keys:
                self._verdicts.pop(key, None)
                self._verdicts[key] = verdict
            while len(self._verdicts) > self._maximum:
                del self._verdicts[next(iter(self._verdicts))]

# SPDX-License-Identifier: Apache-2.0
"""How much space is free after a removal. Pure."""

from __future__ import annotations


class PendingFreeSpace:
    """Bytes that were removed but that the filesystem does not report as free yet (CephFS frees in the background).

    Without it, a removal that shows up late would be done twice. Thread: one.
    """

    SETTLED_S = 10.0

    def __init__(self) -> None:
        self._since: float | None = None
        self._free_then = self._removed = 0

    def add(self, now: float, free_before: int, size: int) -> None:
        """Count `size` bytes just removed. free_before: free bytes reported before that. now: monotonic."""
        if self._since is None or now - self._since > self.SETTLED_S:
            self._since, self._free_then, self._removed = now, free_before, 0
        self._removed += size

    def estimate(self, now: float, reported: int) -> int:
        """Free bytes, with those counted in that are still pending."""
        if self._since is None or now - self._since > self.SETTLED_S:
            return reported
        return max(reported, self._free_then + self._removed)

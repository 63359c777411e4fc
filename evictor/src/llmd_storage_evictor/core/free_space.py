# SPDX-License-Identifier: Apache-2.0
"""Whether removing makes room on the filesystem. Pure."""

from __future__ import annotations

# How long what was removed may take to show as free: longer each time it did not (CephFS frees in the background).
_SETTLE_S = (10.0, 60.0, 360.0)
# After as many removals without effect, none follows for an hour, then for two, four, …
_MISSES = len(_SETTLE_S)
_RETRY_S = 3600.0


class FreeSpace:
    """What is free, with what was removed and does not show yet; and whether it ever shows.

    Where removing frees nothing (snapshots and trash keep the files, somebody else takes the room), a floor would empty
    the cache. So a removal for the floor is judged when it should have shown: free space has grown by what the cache
    has shrunk, or it has missed. For bytes or for files. Times: monotonic. Thread: one.
    """

    def __init__(self) -> None:
        self._since: float | None = None  # when the removal that is not judged yet began
        self._free_then = self._held_then = self._removed = 0
        self._for_floor = False
        self._misses = self._missed = self._free_at_miss = 0
        self._again_at = 0.0

    def add(self, now: float, free_before: int, held_before: int, removed: int, *, for_floor: bool) -> None:
        """Count what was just removed. free_before, held_before: reported free, and held by the cache, before that.

        Requires: estimate() was called with these just before the removal.
        """
        if self._since is None:
            self._since, self._removed, self._for_floor = now, 0, False
            self._free_then, self._held_then = free_before, held_before
        self._removed += removed
        self._for_floor |= for_floor

    def estimate(self, now: float, reported: int, held: int) -> int | None:
        """What is free, or will be. None: removing for the floor is of no use now. held: by the cache."""
        if self._since is not None and now - self._since > _SETTLE_S[min(self._misses, _MISSES - 1)]:
            self._since = None
            if self._for_floor:
                self._judge(now, reported, held)
        if self.given_up and now < self._again_at:
            if reported < self._free_at_miss + self._missed / 2:
                return None
            self._misses = self._missed = 0
        return reported if self._since is None else max(reported, self._free_then + self._removed)

    @property
    def given_up(self) -> bool:
        """Whether several removals in a row made no room."""
        return self._misses >= _MISSES

    @property
    def missed(self) -> int:
        """What these removals removed in all."""
        return self._missed

    def _judge(self, now: float, reported: int, held: int) -> None:
        lost = (self._held_then - held) - (reported - self._free_then)
        if lost <= self._removed / 2:
            self._misses = self._missed = 0
            return
        self._misses, self._missed, self._free_at_miss = self._misses + 1, self._missed + self._removed, reported
        if self.given_up:
            self._again_at = now + _RETRY_S * 2 ** (self._misses - _MISSES)

# SPDX-License-Identifier: Apache-2.0
"""The clock by which files are stamped. Ages are counted by it: the leader's own may be days off."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable

from llmd_storage_evictor.cache import names
from llmd_storage_evictor.cache.directory import CacheDirectory

logger = logging.getLogger(__name__)

_SYNC_EVERY_S = 60.0
_NOTABLE_S = 60.0


def touch(directory: CacheDirectory) -> float:
    """The storage's time now: the mtime that it gives to .evictor. Needs no space. Raises: OSError."""
    with directory.folder(names.STATE_FOLDER) as fd:
        os.utime(fd)
        return os.fstat(fd).st_mtime


class StorageClock:
    """The leader's clock, corrected. Thread: one.

    Where clients stamp files by their own clocks (CephFS), the storage has none: then the engines' count, whose reports
    are seen to change. The earlier of the two is taken, so that nothing is older than it is.
    """

    def __init__(
        self,
        stamp: Callable[[], float],
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """stamp: the storage's time now; may raise OSError."""
        self._stamp, self._clock, self._wall_clock = stamp, clock, wall_clock
        self._synced_at = float("-inf")
        self.offset_s = 0.0

    def now(self) -> float:
        """Seconds since 1970."""
        return self._wall_clock() + self.offset_s

    def sync(self, engine_time: float | None) -> None:
        """Compare the clocks, if that is due. engine_time: now, by the engines' reports. Never raises."""
        if self._clock() - self._synced_at < _SYNC_EVERY_S:
            return
        own = self._wall_clock()
        try:
            found = self._stamp()
        except OSError:  # there is no .evictor yet, on a disk that is full
            found = own
        self._synced_at, before = self._clock(), self.offset_s
        self.offset_s = min(found, found if engine_time is None else engine_time) - own
        if abs(self.offset_s) > _NOTABLE_S and abs(self.offset_s - before) > _NOTABLE_S:
            logger.warning(
                "this node's clock is %.0f s off from the storage's and the engines': ages are counted by theirs",
                -self.offset_s,
            )

# SPDX-License-Identifier: Apache-2.0
"""What is free on the filesystem, in bytes and in files, and whether removing blocks makes room."""

from __future__ import annotations

import logging

from llmd_storage_connector.telemetry.rate_limited_log import RateLimitedLog
from llmd_storage_evictor.cache.directory import Space
from llmd_storage_evictor.config import Config
from llmd_storage_evictor.controller.context import Context
from llmd_storage_evictor.core.free_space import FreeSpace
from llmd_storage_evictor.core.index import Index
from llmd_storage_evictor.core.policy import FreeRoom, Reason


class Floors:
    """Thread: one (the controller's)."""

    def __init__(self, config: Config, context: Context, index: Index, log: RateLimitedLog) -> None:
        self._config, self._context, self._index, self._log = config, context, index, log
        self._clock, self._metrics = context.clock, context.metrics
        self._bytes, self._files = FreeSpace(), FreeSpace()
        self._before = Space(0, 0, None), 0, 0

    def free(self) -> FreeRoom:
        """What is free, to compare with the floors. Raises: OSError."""
        return self._estimate(self._look())

    def reported_bytes(self) -> int:
        """Bytes free as the filesystem reports them. Raises: OSError."""
        return self._look().free_bytes

    def before_removal(self) -> None:
        """Note what is free and held. Raises: OSError."""
        space = self._look()
        self._estimate(space)
        self._before = space, self._index.held_bytes(), self._index.held_files()

    def removed(self, size: int, files: int, reason: Reason) -> None:
        """Count what was removed since before_removal()."""
        space, held_bytes, held_files = self._before
        now = self._clock()
        self._bytes.add(now, space.free_bytes, held_bytes, size, for_floor=reason is Reason.FLOOR)
        if space.free_files is not None:
            self._files.add(now, space.free_files, held_files, files, for_floor=reason is Reason.INODES)

    def _look(self) -> Space:
        space = self._context.directory.space()
        self._metrics.free.set(space.free_bytes)
        if space.free_files is not None:
            self._metrics.free_files.set(space.free_files)
        return space

    def _estimate(self, space: Space) -> FreeRoom:
        now, floor_bytes = self._clock(), self._config.effective_free_floor_bytes
        held_files = self._index.held_files()
        floor_files = self._config.effective_free_floor_files(held_files)
        free_bytes = free_files = None
        if floor_bytes:
            free_bytes = self._bytes.estimate(now, space.free_bytes, self._index.held_bytes())
        if floor_files and space.free_files is not None:
            free_files = self._files.estimate(now, space.free_files, held_files)
        self._metrics.floor_given_up.set(0)
        for kind, one, free, floor in (
            ("bytes", self._bytes, space.free_bytes, floor_bytes),
            ("files", self._files, space.free_files or 0, floor_files),
        ):
            if one.given_up and free < floor:
                self._metrics.floor_given_up.set(1)
                self._tell(kind, one, free, floor)
        return FreeRoom(free_bytes, free_files)

    def _tell(self, kind: str, one: FreeSpace, free: int, floor: int) -> None:
        text = (
            "%d %s are free, less than free_floor_%s (%d), and removing %d did not change that: snapshots or a trash "
            "keep them, or others take the room. Nothing goes for the floor until there is more room. Make room "
            "outside the cache, or set free_floor_%s to 0"
        )
        self._log.log(logging.ERROR, f"floor {kind}", text, free, kind, kind, floor, one.missed, kind)

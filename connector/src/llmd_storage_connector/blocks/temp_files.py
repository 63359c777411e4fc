# SPDX-License-Identifier: Apache-2.0
"""Scratch files that a killed writer left behind are removed: slowly, in the background, by one engine of a namespace.

Only files whose names this project makes for unfinished blocks are looked at, so nothing else can be removed.
Removing the file of a writer that is alive after all (its clock is ahead by minutes, or it hung) costs that
writer one block.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass

from llmd_storage_connector.blocks import layout
from llmd_storage_core import publish
from llmd_storage_core.scratch import is_scratch
from llmd_storage_core.strategies import RENAME

logger = logging.getLogger("vllm.llmd_storage_connector.blocks.temp_files")

# No block takes this long to write: its job is cancelled long before.
OLDER_THAN_S = 600.0
# Between two folders: a whole walk takes minutes and costs storage a listing every now and then.
PAUSE_S = 2.0
EVERY_S = 24 * 3600.0
# Engines start together, and each looks whose turn it is somewhere in here.
SPREAD_S = 600.0

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Collected:
    """What was removed. bytes: as the files' lengths say."""

    files: int = 0
    bytes: int = 0


def collect_folder(folder: str, older_than_s: float, now: float) -> Collected:
    """Remove scratch files in `folder` that were last written more than older_than_s before `now` (wall clock).

    Ensures: nothing is removed but regular files with a scratch file's name; links are not followed, `folder`
    itself included. Raises: OSError when the folder cannot be listed. Blocks: as long as storage does.
    """
    files = length = 0
    fd = os.open(folder, _FOLDER)
    try:
        with os.scandir(fd) as entries:
            names = [entry.name for entry in entries if is_scratch(entry.name)]
        for name in names:
            try:
                found = os.stat(name, dir_fd=fd, follow_symlinks=False)
                if stat.S_ISREG(found.st_mode) and now - found.st_mtime > older_than_s:
                    os.unlink(name, dir_fd=fd)
                    files, length = files + 1, length + found.st_size
            except FileNotFoundError:
                continue  # its writer finished, or another engine sweeps too
            except OSError as error:
                logger.debug("could not remove %s/%s: %s", folder, name, error)
    finally:
        os.close(fd)
    return Collected(files, length)


class TempFileCollector:
    """Walks a namespace folder by folder once a day, unless another engine of it has. Thread: one, whichever.

    Whoever begins dates a file by it. Two that look in the same moment both walk: that costs a listing twice.

    pause_s: seconds until the next poll().
    """

    def __init__(
        self,
        wall_clock: Callable[[], float] = time.time,
        spread: Callable[[float], float] = lambda most: random.uniform(0, most),
    ) -> None:
        self._now, self._spread = wall_clock, spread
        self._names = ("", *layout.fanout_names(), layout.DAMAGED)
        self._at = 0
        self.pause_s = spread(SPREAD_S)

    def poll(self, folder: str) -> Collected:
        """Look through the walk's next folder, if it is this engine's turn. folder: the namespace's.

        Raises: OSError. Blocks: as storage does.
        """
        if self._at == 0 and (wait_s := self._others_turn_s(folder)) > 0:
            self.pause_s = wait_s + self._spread(SPREAD_S)
            return Collected()
        place = f"{folder}/{self._names[self._at]}".rstrip("/")
        self._at = (self._at + 1) % len(self._names)
        self.pause_s = PAUSE_S if self._at else EVERY_S + self._spread(SPREAD_S)
        collected = collect_folder(place, OLDER_THAN_S, self._now())
        if collected.files:
            logger.info("removed %d unfinished files (%d bytes) in %s", collected.files, collected.bytes, place)
        return collected

    def _others_turn_s(self, folder: str) -> float:
        """Seconds until a walk is due; 0: it is due, and this engine's from now on."""
        with contextlib.suppress(FileNotFoundError):
            age_s = self._now() - os.stat(f"{folder}/{layout.COLLECTED}", follow_symlinks=False).st_mtime
            if abs(age_s) < EVERY_S:  # one from further ahead is of a clock that was wrong
                return EVERY_S - max(age_s, 0.0)
        # Storage without room for a marker needs the walk most.
        with contextlib.suppress(OSError):
            publish.publish(RENAME, folder, layout.COLLECTED, publish.whole([]))
        return 0.0

# SPDX-License-Identifier: Apache-2.0
"""Scratch files that a killed writer left behind are removed: slowly, in the background, by any engine.

Only files whose names this project makes for unfinished blocks are looked at, so nothing else can be removed.
Removing the file of a writer that is alive after all (its clock is ahead by minutes, or it hung) costs that
writer one block.

    field  | owner | guarded by
    _ended | any   | itself
"""

from __future__ import annotations

import logging
import os
import random
import stat
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from llmd_storage_connector.blocks import layout

logger = logging.getLogger("vllm.llmd_storage_connector.blocks.temp_files")

# No block takes this long to write: its job is given up long before.
OLDER_THAN_S = 600.0
# Between two folders: a whole walk takes minutes and costs storage a listing every now and then.
PAUSE_S = 2.0
EVERY_S = 24 * 3600.0

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Swept:
    """What was removed. bytes: as the files' lengths say."""

    files: int = 0
    bytes: int = 0


def sweep_folder(folder: str, older_than_s: float, now: float) -> Swept:
    """Remove scratch files in `folder` that were last written more than older_than_s before `now` (wall clock).

    Ensures: nothing is removed but regular files with a scratch file's name; links are not followed, `folder`
    itself included. Raises: OSError when the folder cannot be listed. Blocks: as long as storage does.
    """
    files = length = 0
    fd = os.open(folder, _FOLDER)
    try:
        with os.scandir(fd) as entries:
            names = [entry.name for entry in entries if layout.is_scratch(entry.name)]
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
    return Swept(files, length)


class Sweeper:
    """Walks a namespace once after the engine's start and then once a day. Constructing starts nothing.

    folder(): the namespace's folder, "" before it is open. may_touch(): whether storage is used now; the walk waits
    while it is not. on_swept: told of each folder in which something was removed.
    """

    def __init__(
        self,
        folder: Callable[[], str],
        may_touch: Callable[[], bool],
        on_swept: Callable[[Swept], None],
        *,
        wall_clock: Callable[[], float] = time.time,
        older_than_s: float = OLDER_THAN_S,
        pause_s: float = PAUSE_S,
        every_s: float = EVERY_S,
    ) -> None:
        self._folder = folder
        self._may_touch = may_touch
        self._on_swept = on_swept
        self._now = wall_clock
        self._older_than_s = older_than_s
        self._pause_s = pause_s
        self._every_s = every_s
        self._ended = threading.Event()

    def close(self) -> None:
        """End run() at its next step; one that hangs in a system call ends when the call does. Thread: any."""
        self._ended.set()

    def run(self) -> None:
        """Walk until close(). Belongs on a daemon thread of its own. Never raises."""
        while True:
            self._walk()
            if self._ended.wait(self._every_s):
                return

    def _walk(self) -> None:
        # Engines of one claim start together: each begins elsewhere.
        names = [*layout.fanout_names(), layout.DAMAGED, ""]
        start = random.randrange(len(names))
        for name in names[start:] + names[:start]:
            while True:
                if self._ended.wait(self._pause_s):
                    return
                if self._usable():
                    break
            self._sweep(name)

    def _usable(self) -> bool:
        return bool(self._folder()) and self._may_touch()

    def _sweep(self, name: str) -> None:
        folder = f"{self._folder()}/{name}".rstrip("/")
        try:
            swept = sweep_folder(folder, self._older_than_s, self._now())
            if swept.files:
                logger.info("removed %d unfinished files (%d bytes) in %s", swept.files, swept.bytes, folder)
                self._on_swept(swept)
        except OSError as error:
            logger.debug("could not sweep %s: %s", folder, error)
        except Exception:
            logger.exception("sweeping %s failed in an unforeseen way", folder)

# SPDX-License-Identifier: Apache-2.0
"""One leader at a time, kept by the storage itself: a file whose number grows with each change of hands.

`.evictor/leader-<generation>` belongs to the leader, which refreshes its mtime every HEARTBEAT_S. Who wants to lead
watches it; when its mtime has stood still for STALE_S by the watcher's own clock, the watcher renames it to the next
generation. Of two who try, one finds the old name gone. The former leader finds it gone as well: it is fenced.
None of this needs free space. Only the very first file does: on a disk that is full before any evictor was there, and
takes not even that, a process leads without it (generation 0) until there is room, which it is there to make.

The file also says who its holder is. A pod whose container was started again finds its own name there and need not
wait: the process before it is gone. So whoever has the Lease next leads soon, the killed leader's successor included.

A leader whose last refresh is older than VALID_S may not remove anything, whatever it believes: storage that hangs
takes that right from it before anyone else can have it, and when storage comes back it stands for election again.

    field   | owner            | guarded by
    _held   | step()'s thread  | one reference, replaced whole
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from llmd_storage_evictor.cache import names
from llmd_storage_evictor.cache.directory import CREATE, FILE_MODE, CacheDirectory, read_file

logger = logging.getLogger(__name__)

HEARTBEAT_S = 1.5
VALID_S = 5.0
STALE_S = 7.0
_FULL = {errno.ENOSPC, errno.EDQUOT}
_MOST_BYTES = 4096
_NAME = re.compile(r"leader-(\d+)")


@dataclass(frozen=True, slots=True)
class _Held:
    generation: int
    beaten_at: float  # monotonic, of the moment before the refresh that succeeded last


class Fence:
    """One process's side.

    Thread: step() on one thread; held() on any, at the cost of a comparison.
    """

    def __init__(
        self,
        directory: CacheDirectory,
        holder: str,
        clock: Callable[[], float] = time.monotonic,
        wall_clock_ns: Callable[[], int] = time.time_ns,
        *,
        alone: bool = False,
    ) -> None:
        """alone: no two processes that live at the same time have this holder's name."""
        self._directory, self._holder, self._alone = directory, holder, alone
        self._clock, self._wall_clock_ns = clock, wall_clock_ns
        self._held: _Held | None = None
        self._watched: tuple[int, int] | None = None  # (generation, mtime) of another's file
        self._still_since = 0.0

    def held(self) -> bool:
        """Whether this process may remove files now."""
        held = self._held
        return held is not None and self._clock() - held.beaten_at < VALID_S

    @property
    def generation(self) -> int:
        """Of the file this process holds; 0: none."""
        return self._held.generation if self._held else 0

    def step(self, wants: bool) -> bool:
        """Refresh, watch, or take over. wants: whether this process is to lead, if it can.

        Returns: held(). Raises: OSError when storage fails. Blocks: as long as storage does. Call it every HEARTBEAT_S.
        """
        held = self._held
        if held is not None and held.generation:
            if wants and self.held():
                self._beat(held)
            else:
                self.release()
            return self.held()
        self._held, began = None, self._clock()
        try:
            self._watch(wants)
        except OSError as error:
            if not wants or error.errno not in _FULL or self._watched is not None:
                raise
            self._held = _Held(0, began)
        return self.held()

    def release(self) -> None:
        """Let others lead at once. Raises: OSError."""
        held, self._held = self._held, None
        self._watched = None
        if held is not None and held.generation and self._clock() - held.beaten_at < VALID_S:
            with self._directory.folder(names.STATE_FOLDER) as fd, contextlib.suppress(FileNotFoundError):
                os.utime(_name(held.generation), ns=(0, 0), dir_fd=fd, follow_symlinks=False)

    def _beat(self, held: _Held) -> None:
        began, stamp = self._clock(), self._wall_clock_ns()
        try:
            with self._directory.folder(names.STATE_FOLDER) as fd:
                if _latest(fd)[0] != held.generation:
                    raise FileNotFoundError
                os.utime(_name(held.generation), ns=(stamp, stamp), dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            self._held = None
            logger.warning("another process has taken over (generation %d is gone)", held.generation)
            return
        if self._clock() - held.beaten_at < VALID_S:
            self._held = replace(held, beaten_at=began)
        else:  # it took so long that someone else may lead
            self._held = None

    def _watch(self, wants: bool) -> None:
        self._directory.make_state_folder()
        with self._directory.folder(names.STATE_FOLDER) as fd:
            seen = _latest(fd)
            generation, stamp = seen
            if generation and seen != self._watched:
                self._watched, self._still_since = seen, self._clock()
            # 0 as the time says that its holder let go; 0 as the number, that there never was one.
            free = stamp == 0 or self._clock() - self._still_since > STALE_S
            if wants and (free or (self._alone and self._is_own(fd, generation))):
                self._take(fd, generation)

    def _is_own(self, fd: int, generation: int) -> bool:
        """Whether the holder had this one's name. A holder that was killed before it could say so left another's."""
        try:
            said = json.loads(read_file(fd, _name(generation), _MOST_BYTES))
        except (FileNotFoundError, ValueError):
            return False
        return bool(said == self._saying(generation))

    def _saying(self, generation: int) -> dict[str, object]:
        return {"holder": self._holder, "generation": generation}

    def _take(self, fd: int, generation: int) -> None:
        began, name = self._clock(), _name(generation + 1)
        try:
            if generation == 0:
                os.close(os.open(name, CREATE, FILE_MODE, dir_fd=fd))
            else:
                os.rename(_name(generation), name, src_dir_fd=fd, dst_dir_fd=fd)
            stamp = self._wall_clock_ns()
            os.utime(name, ns=(stamp, stamp), dir_fd=fd, follow_symlinks=False)
        except (FileNotFoundError, FileExistsError):
            self._watched = None
            return
        self._held, self._watched = _Held(generation + 1, began), None
        logger.info("leading as %s, generation %d", self._holder, generation + 1)
        with contextlib.suppress(OSError):  # for people and successors; the name and the time are what counts
            file = os.open(name, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            with open(file, "w", encoding="utf-8") as text:
                json.dump(self._saying(generation + 1), text)


def _name(generation: int) -> str:
    return f"leader-{generation}"


def _latest(fd: int) -> tuple[int, int]:
    """(generation, mtime in ns) of the leader's file; (0, 0) when there is none.

    Listing first: a client may remember that a name was not there, but not that it was not listed.
    """
    found = [int(match[1]) for name in os.listdir(fd) if (match := _NAME.fullmatch(name))]
    if not found:
        return 0, 0
    try:
        return max(found), os.stat(_name(max(found)), dir_fd=fd, follow_symlinks=False).st_mtime_ns
    except FileNotFoundError:
        return max(found), -1  # renamed meanwhile: the next look sees it

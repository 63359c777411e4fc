# SPDX-License-Identifier: Apache-2.0
"""A lease kept on the storage itself: one leader at a time, whatever the Kubernetes API server says.

The file `.evictor/leader-<generation>` belongs to the leader, which renews it by setting its mtime every
RENEW_INTERVAL_S. A candidate watches the file. When the mtime has not changed for LEASE_DURATION_S by the candidate's
own clock, it renames the file to the next generation. Of two candidates one wins; the other finds the old name gone.
So does the former leader, which then knows that it lost the lease. None of this needs free space, except for the very
first file. On a disk that was full before any evictor ran and takes not even that, a process leads without a file
(generation 0), until it has made room for it.

The file also names its holder. A pod whose container was restarted finds its own name there and need not wait, since
the process before it is gone. So whoever has the Kubernetes Lease next leads soon, also after a kill.

A leader that could not renew for RENEW_DEADLINE_S may not remove anything. Storage that hangs takes that right away
before anyone else can have it; when the storage comes back, the process becomes a candidate again.

    field   | owner                             | guarded by
    _lease  | try_acquire_or_renew()'s thread   | one reference, replaced whole
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

RENEW_INTERVAL_S = 1.5
RENEW_DEADLINE_S = 5.0
LEASE_DURATION_S = 7.0
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
_MAX_RECORD_BYTES = 4096
_NAME = re.compile(r"leader-(\d+)")


@dataclass(frozen=True, slots=True)
class _Lease:
    generation: int
    renewed_at: float  # monotonic, taken before the last successful renewal


class FileLease:
    """One process's view of the lease.

    Thread: try_acquire_or_renew() and release() on one thread; held() on any, at the cost of a comparison.
    """

    def __init__(
        self,
        directory: CacheDirectory,
        holder: str,
        clock: Callable[[], float] = time.monotonic,
        wall_clock_ns: Callable[[], int] = time.time_ns,
        *,
        unique_holder: bool = False,
    ) -> None:
        """unique_holder: no two processes that live at the same time have this holder's name."""
        self._directory, self._holder, self._unique_holder = directory, holder, unique_holder
        self._clock, self._wall_clock_ns = clock, wall_clock_ns
        self._lease: _Lease | None = None
        self._watched: tuple[int, int] | None = None  # (generation, mtime in ns) of another process's file
        self._unchanged_since = 0.0

    def held(self) -> bool:
        """Whether this process may remove files now."""
        lease = self._lease
        return lease is not None and self._clock() - lease.renewed_at < RENEW_DEADLINE_S

    @property
    def generation(self) -> int:
        """Of the file this process holds; 0: none."""
        return self._lease.generation if self._lease else 0

    def try_acquire_or_renew(self, candidate: bool) -> bool:
        """Renew, watch, or acquire the lease. Call it every RENEW_INTERVAL_S.

        candidate: whether this process wants to lead. Returns: held(). Raises: OSError when storage fails. Blocks as
        long as storage does.
        """
        lease = self._lease
        if lease is not None and lease.generation:
            if candidate and self.held():
                self._renew(lease)
            else:
                self.release()
            return self.held()
        self._lease, began = None, self._clock()
        try:
            self._watch(candidate)
        except OSError as error:
            if not candidate or error.errno not in _DISK_FULL or self._watched is not None:
                raise
            self._lease = _Lease(0, began)
        return self.held()

    def release(self) -> None:
        """Let others lead at once. Raises: OSError."""
        lease, self._lease = self._lease, None
        self._watched = None
        if lease is not None and lease.generation and self._clock() - lease.renewed_at < RENEW_DEADLINE_S:
            with self._directory.folder(names.STATE_FOLDER) as fd, contextlib.suppress(FileNotFoundError):
                os.utime(_name(lease.generation), ns=(0, 0), dir_fd=fd, follow_symlinks=False)

    def _renew(self, lease: _Lease) -> None:
        began, stamp = self._clock(), self._wall_clock_ns()
        try:
            with self._directory.folder(names.STATE_FOLDER) as fd:
                if _latest(fd)[0] != lease.generation:
                    raise FileNotFoundError
                os.utime(_name(lease.generation), ns=(stamp, stamp), dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            self._lease = None
            logger.warning("another process has taken over (generation %d is gone)", lease.generation)
            return
        if self._clock() - lease.renewed_at < RENEW_DEADLINE_S:
            self._lease = replace(lease, renewed_at=began)
        else:  # it took so long that someone else may lead
            self._lease = None

    def _watch(self, candidate: bool) -> None:
        self._directory.make_state_folder()
        with self._directory.folder(names.STATE_FOLDER) as fd:
            latest = _latest(fd)
            generation, stamp = latest
            if generation and latest != self._watched:
                self._watched, self._unchanged_since = latest, self._clock()
            # mtime 0: the holder released it. Generation 0: there never was one.
            free = stamp == 0 or self._clock() - self._unchanged_since > LEASE_DURATION_S
            if candidate and (free or (self._unique_holder and self._held_before_restart(fd, generation))):
                self._acquire(fd, generation)

    def _held_before_restart(self, fd: int, generation: int) -> bool:
        """Whether the file has this holder's name. One killed between the rename and the write left another's."""
        try:
            record = json.loads(read_file(fd, _name(generation), _MAX_RECORD_BYTES))
        except (FileNotFoundError, ValueError):
            return False
        return bool(record == self._record(generation))

    def _record(self, generation: int) -> dict[str, object]:
        return {"holder": self._holder, "generation": generation}

    def _acquire(self, fd: int, generation: int) -> None:
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
        self._lease, self._watched = _Lease(generation + 1, began), None
        logger.info("leading as %s, generation %d", self._holder, generation + 1)
        with contextlib.suppress(OSError):  # only for people and restarts: name and mtime are what counts
            file = os.open(name, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            with open(file, "w", encoding="utf-8") as text:
                json.dump(self._record(generation + 1), text)


def _name(generation: int) -> str:
    return f"leader-{generation}"


def _latest(fd: int) -> tuple[int, int]:
    """(generation, mtime in ns) of the leader's file; (0, 0) when there is none.

    Lists first: a client may cache that a name does not exist, but a listing is read again.
    """
    found = [int(match[1]) for name in os.listdir(fd) if (match := _NAME.fullmatch(name))]
    if not found:
        return 0, 0
    try:
        return max(found), os.stat(_name(max(found)), dir_fd=fd, follow_symlinks=False).st_mtime_ns
    except FileNotFoundError:
        return max(found), -1  # renamed meanwhile: the next call sees it

# SPDX-License-Identifier: Apache-2.0
"""A lease kept on the storage itself: one leader at a time, whatever the Kubernetes API server says.

The file `.evictor/leader-<generation>` belongs to the leader, which renews it every RENEW_INTERVAL_S by writing the
next number into it. A candidate opens and reads it: that is fresh also where attributes are cached (NFS, FUSE), and
writing needs no more than the group's rights, whichever user made the file. When neither content nor mtime has changed
for LEASE_DURATION_S by the candidate's own clock, it renames the file to the next generation. Of two candidates one
wins; the other finds the old name gone. So does the former leader, which then knows that it lost the lease. None of
this needs free space, except for the very first file. On a disk that was full before any evictor ran and takes not even
that, a process leads without a file (generation 0), until it has made room for it.

The file also names its holder. A pod whose container was restarted finds its own name there and need not wait, since
the process before it is gone. So whoever has the Kubernetes Lease next leads soon, also after a kill.

A leader that could not renew for RENEW_DEADLINE_S may not remove anything. Storage that hangs takes that right away
before anyone else can have it; when the storage comes back, the process becomes a candidate again.

    field   | owner                             | guarded by
    _lease  | try_acquire_or_renew()'s thread   | one reference, replaced whole
    _seen   | try_acquire_or_renew()'s thread   | a float, replaced whole
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
from typing import Any, NamedTuple

from llmd_storage_evictor.cache import names
from llmd_storage_evictor.cache.directory import CREATE, FILE_MODE, CacheDirectory, read_file

logger = logging.getLogger(__name__)

RENEW_INTERVAL_S = 1.5
RENEW_DEADLINE_S = 5.0
LEASE_DURATION_S = 7.0
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
_RECORD_BYTES = 512
_MAX_RECORD_BYTES = 4096
_NAME = re.compile(r"leader-(\d+)")


@dataclass(frozen=True, slots=True)
class _Lease:
    generation: int
    renewed_at: float  # monotonic, taken before the last successful renewal


class _Renewal(NamedTuple):
    """The leader's file as a candidate sees it. generation 0: there is none."""

    generation: int
    mtime_ns: int = 0
    content: bytes = b""

    @property
    def _record(self) -> dict[str, Any]:
        try:
            found = json.loads(self.content)
        except ValueError:
            return {}
        return found if isinstance(found, dict) and found.get("generation") == self.generation else {}

    @property
    def released(self) -> bool:
        return self._record.get("released") is True

    def is_of(self, holder: str) -> bool:
        return self._record.get("holder") == holder


class FileLease:
    """One process's view of the lease.

    Thread: try_acquire_or_renew() and release() on one thread; held() on any, at the cost of a comparison.
    """

    def __init__(
        self,
        directory: CacheDirectory,
        holder: str,
        clock: Callable[[], float] = time.monotonic,
        *,
        unique_holder: bool = False,
    ) -> None:
        """unique_holder: no two processes that live at the same time have this holder's name."""
        self._directory, self._holder, self._unique_holder = directory, holder, unique_holder
        self._clock = clock
        self._lease: _Lease | None = None
        self._watched: _Renewal | None = None  # of another process's file
        self._unchanged_since = 0.0
        self._renewals = 0
        self._seen = float("-inf")

    def held(self) -> bool:
        """Whether this process may remove files now."""
        lease = self._lease
        return lease is not None and self._clock() - lease.renewed_at < RENEW_DEADLINE_S

    def someone_leads(self) -> bool:
        """Whether this process holds the lease, or has seen another one renew it. Any thread."""
        return self.held() or self._clock() - self._seen < LEASE_DURATION_S

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
                self._write(fd, lease.generation, released=True)

    def _renew(self, lease: _Lease) -> None:
        began = self._clock()
        try:
            with self._directory.folder(names.STATE_FOLDER) as fd:
                if _latest(fd) != lease.generation:
                    raise FileNotFoundError
                self._write(fd, lease.generation)
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
            latest = _look(fd)
            if latest.generation and latest != self._watched:
                if self._watched is not None and not latest.released:
                    self._seen = self._clock()
                self._watched, self._unchanged_since = latest, self._clock()
            # Generation 0: there never was one.
            free = not latest.generation or latest.released or self._clock() - self._unchanged_since > LEASE_DURATION_S
            # One that was killed between the rename and the write left another generation's record.
            restarted = self._unique_holder and latest.is_of(self._holder)
            if candidate and (free or restarted):
                self._acquire(fd, latest.generation)

    def _write(self, fd: int, generation: int, *, released: bool = False) -> None:
        """Always of one size, so that a full disk takes it; one that does not take it takes a new mtime."""
        self._renewals += 1
        record = {"holder": self._holder, "generation": generation, "renewals": self._renewals, "released": released}
        try:
            file = os.open(_name(generation), os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            try:
                os.pwrite(file, json.dumps(record).ljust(_RECORD_BYTES).encode(), 0)
            finally:
                os.close(file)
        except OSError as error:
            if error.errno not in _DISK_FULL:
                raise
            os.utime(_name(generation), dir_fd=fd, follow_symlinks=False)

    def _acquire(self, fd: int, generation: int) -> None:
        began, name = self._clock(), _name(generation + 1)
        try:
            if generation == 0:
                os.close(os.open(name, CREATE, FILE_MODE, dir_fd=fd))
            else:
                os.rename(_name(generation), name, src_dir_fd=fd, dst_dir_fd=fd)
            self._write(fd, generation + 1)
        except (FileNotFoundError, FileExistsError):
            self._watched = None
            return
        self._lease, self._watched = _Lease(generation + 1, began), None
        logger.info("leading as %s, generation %d", self._holder, generation + 1)


def _name(generation: int) -> str:
    return f"leader-{generation}"


def _latest(fd: int) -> int:
    """The generation of the leader's file; 0 when there is none.

    By listing: a client may cache that a name does not exist, but a listing is read again.
    """
    return max((int(match[1]) for name in os.listdir(fd) if (match := _NAME.fullmatch(name))), default=0)


def _look(fd: int) -> _Renewal:
    generation = _latest(fd)
    if not generation:
        return _Renewal(0)
    try:
        content = read_file(fd, _name(generation), _MAX_RECORD_BYTES)
        return _Renewal(generation, os.stat(_name(generation), dir_fd=fd, follow_symlinks=False).st_mtime_ns, content)
    except FileNotFoundError:
        return _Renewal(generation, -1)  # renamed meanwhile: the next call sees it
    except ValueError:
        return _Renewal(generation)  # no evictor made it: taken over when it does not change

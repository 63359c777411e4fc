# SPDX-License-Identifier: Apache-2.0
"""Looks for what has changed in the cache, and tells the index.

A look at an idle cache costs one stat a folder. A folder whose mtime has changed is listed, and only names that are new
are looked at; so is, every relist_s, one whose mtime has not (some filesystems and caching clients show it late), and
every rescan_s all its files are, for the times that readers refresh.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, field

from llmd_storage_connector import layout
from llmd_storage_evictor.cache import names
from llmd_storage_evictor.cache.directory import CacheDirectory
from llmd_storage_evictor.core.index import Folder, Index

# A folder that changes twice within a tick of its filesystem's clock shows one mtime: such a one is listed again.
_SETTLED_S = 2.0
# Not there, or something else of that name: a file, a link, another filesystem.
_NOT_THERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV}


@dataclass(slots=True)
class Listing:
    """What was found in one folder: its blocks, and the names of unfinished files."""

    folder: Folder
    scratch: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Pass:
    """One look at everything. scratch: (namespace, folder, names). listed, read: folders.

    failed: folders that could not be looked at; what was known of them still holds.
    """

    scratch: list[tuple[str, str, list[str]]] = field(default_factory=list)
    listed: int = 0
    read: int = 0
    failed: list[tuple[str, OSError]] = field(default_factory=list)


class Scanner:
    """Thread: one; the pool's threads do the system calls and touch nothing of this.

    advanced: called whenever storage has answered something.
    """

    def __init__(
        self,
        directory: CacheDirectory,
        index: Index,
        pool: Executor,
        *,
        relist_s: float,
        rescan_s: float,
        advanced: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._directory, self._index, self._pool = directory, index, pool
        self._relist_s, self._rescan_s = relist_s, rescan_s
        self._advanced = advanced
        self._clock, self._wall_clock = clock, wall_clock
        self._last_look = clock()

    def look(self, everything: bool = False) -> Pass:
        """Bring the index up to date; with `everything`, every file is looked at.

        Raises: OSError when storage fails altogether; what was learnt until then is in the index.
        """
        now = self._clock()
        # What is due for its hourly look is spread over the hour.
        elapsed_s, self._last_look = now - self._last_look, now
        found = self._directory.namespaces()
        for gone in set(self._index.namespaces()) - set(found):
            self._index.forget(gone)
        allowance = max(1.0, elapsed_s / self._rescan_s * len(found) * len(names.BLOCK_FOLDERS))
        result = Pass()
        for namespace in found:
            self._index.add_namespace(namespace)
            work = []
            try:
                times = self._folder_times(namespace)
            except OSError as error:
                result.failed.append((namespace, error))
                continue
            for name, changed_ns in times:
                known = self._index.folder(namespace, name)
                read = known is None or everything
                if known is not None and not read and now - known.read_at > self._rescan_s and allowance >= 1:
                    read, allowance = True, allowance - 1
                if known is None or read or self._is_due(known, changed_ns, now):
                    work.append((namespace, name, None if read else known))
            self._list(work, result)
        if result.failed and not result.listed:
            raise result.failed[0][1]
        return result

    def _is_due(self, known: Folder, changed_ns: int, now: float) -> bool:
        return changed_ns != known.changed_ns or now - known.listed_at > self._relist_s

    def _folder_times(self, namespace: str) -> list[tuple[str, int]]:
        """(name, mtime) of the namespace's folders that hold blocks."""
        try:
            times = self._pool.submit(folder_times, self._directory, namespace).result()
        except OSError as error:
            if error.errno not in _NOT_THERE:
                raise
            self._index.forget(namespace)
            return []
        self._advanced()
        for gone in set(self._index.folders(namespace)) - {name for name, _ in times}:
            self._index.forget_folder(namespace, gone)
        return times

    def _list(self, work: Iterable[tuple[str, str, Folder | None]], result: Pass) -> None:
        def one(item: tuple[str, str, Folder | None]) -> Listing | OSError | None:
            try:
                return read_folder(self._directory, *item, now=self._wall_clock)
            except OSError as error:
                return error

        work = list(work)
        for (namespace, name, known), listing in zip(work, self._pool.map(one, work), strict=True):
            self._advanced()
            if isinstance(listing, OSError):
                result.failed.append((f"{namespace}/{name}", listing))
                continue
            result.listed += 1
            result.read += known is None
            if listing is None:
                self._index.forget_folder(namespace, name)
                continue
            listing.folder.listed_at = self._clock()
            listing.folder.read_at = listing.folder.listed_at if known is None else known.read_at
            self._index.put(namespace, name, listing.folder)
            if listing.scratch:
                result.scratch.append((namespace, name, listing.scratch))


def folder_times(directory: CacheDirectory, namespace: str) -> list[tuple[str, int]]:
    """(name, mtime_ns) of those of a namespace's block folders that are there, as folders. Raises: OSError."""
    times = []
    with directory.folder(namespace) as fd:
        for name in names.BLOCK_FOLDERS:
            try:
                found = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except FileNotFoundError:
                continue
            if stat.S_ISDIR(found.st_mode):
                times.append((name, found.st_mtime_ns))
    return times


def read_folder(
    directory: CacheDirectory, namespace: str, name: str, known: Folder | None, now: Callable[[], float] = time.time
) -> Listing | None:
    """List a folder; look at files that are not in `known`, or at all. None: it is not there (any more), or a link.

    Raises: OSError when storage fails.
    """
    believed = known.known() if known is not None else {}
    try:
        with directory.folder(namespace, name) as fd:
            changed_ns = os.fstat(fd).st_mtime_ns
            settled = now() - changed_ns / 1e9 > _SETTLED_S
            listing = Listing(Folder(changed_ns=changed_ns if settled else 0))
            _fill(listing, fd, name, believed)
    except OSError as error:
        if error.errno in _NOT_THERE:
            return None
        raise
    listing.folder.seal()
    return listing


def _fill(listing: Listing, fd: int, folder: str, believed: dict[int, tuple[int, int]]) -> None:
    """This is where the time goes, once for each file: a microsecond more is a second more for a million."""
    names_here = os.listdir(fd)
    ids = list(map(names.file_id, names_here))
    into = listing.folder
    unknown = names_here
    if believed:
        kept = [id_ for id_ in ids if id_ in believed]
        into.ids.extend(kept)
        into.mtimes.extend([believed[id_][0] for id_ in kept])
        into.sizes.extend([believed[id_][1] for id_ in kept])
        unknown = [name for name, id_ in zip(names_here, ids, strict=True) if id_ not in believed]
    for name in unknown:
        if names.key_of_block(folder, name) is None:
            if names.is_scratch(name):
                listing.scratch.append(name)
            else:
                into.foreign += 1
            continue
        try:
            found = os.stat(name, dir_fd=fd, follow_symlinks=False)
        except OSError:
            continue  # it went, or is broken: not counted, never chosen
        if stat.S_ISREG(found.st_mode):
            into.add(names.file_id(name), age_ns(found, folder), found.st_size)
        else:
            into.foreign += 1


def age_ns(found: os.stat_result, folder: str) -> int:
    """The time a file's age counts from: last use; for damaged ones, when they were set aside (a rename)."""
    return max(found.st_mtime_ns, found.st_ctime_ns) if folder == layout.DAMAGED else found.st_mtime_ns

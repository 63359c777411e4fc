# SPDX-License-Identifier: Apache-2.0
"""Finds what has changed in the cache directory, and updates the index.

A scan of an idle cache costs one stat a folder. A folder is listed when its mtime has changed, and every relist_s in
any case, since some filesystems and caching clients show the mtime late. Only new names are statted. Every
rescan_s all files of a folder are statted, for the mtimes that readers refresh.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, field

from llmd_storage_connector.blocks import layout
from llmd_storage_evictor.cache import names
from llmd_storage_evictor.cache.directory import CacheDirectory
from llmd_storage_evictor.core.index import Folder, Index

# Two changes within one tick of the filesystem's clock leave one mtime: a folder that just changed is listed again.
_MTIME_TICK_S = 2.0
# No such folder, or something else of that name: a file, a link, another filesystem.
_NOT_THERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV}


@dataclass(slots=True)
class FolderListing:
    """One folder as listed. scratch: names of unfinished files."""

    folder: Folder
    scratch: list[str] = field(default_factory=list)


@dataclass(slots=True)
class ScanResult:
    """What one scan did. scratch: (namespace, folder, names) of unfinished files. listed, rescanned: folders.

    failed: folders that could not be read; the index keeps what it knew of them.
    """

    scratch: list[tuple[str, str, list[str]]] = field(default_factory=list)
    listed: int = 0
    rescanned: int = 0
    failed: list[tuple[str, OSError]] = field(default_factory=list)


class Scanner:
    """Thread: one; the pool's threads only do system calls.

    on_progress: called whenever storage has answered.
    """

    def __init__(
        self,
        directory: CacheDirectory,
        index: Index,
        pool: Executor,
        *,
        relist_s: float,
        rescan_s: float,
        on_progress: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._directory, self._index, self._pool = directory, index, pool
        self._relist_s, self._rescan_s = relist_s, rescan_s
        self._on_progress = on_progress
        self._clock, self._wall_clock = clock, wall_clock
        self._last_scan = clock()

    def scan(self) -> ScanResult:
        """Bring the index up to date.

        Raises: OSError when storage answered for no namespace; what was found before that is in the index.
        """
        now = self._clock()
        # Rescans are spread over rescan_s.
        elapsed_s, self._last_scan = now - self._last_scan, now
        found = self._directory.namespaces()
        for gone in set(self._index.namespaces()) - set(found):
            self._index.forget(gone)
        rescan_quota = max(1.0, elapsed_s / self._rescan_s * len(found) * len(names.BLOCK_FOLDERS))
        result, answered = ScanResult(), False
        for namespace in found:
            self._index.add_namespace(namespace)
            work = []
            try:
                times = self._folder_times(namespace)
            except OSError as error:
                result.failed.append((namespace, error))
                continue
            answered = True
            for name, changed_ns in times:
                known = self._index.folder(namespace, name)
                rescan = known is None
                if known is not None and not rescan and now - known.rescanned_at > self._rescan_s and rescan_quota >= 1:
                    rescan, rescan_quota = True, rescan_quota - 1
                if known is None or rescan or self._needs_listing(known, changed_ns, now):
                    work.append((namespace, name, None if rescan else known))
            self._list(work, result)
        # A folder that cannot be read must not keep the others from being kept.
        if result.failed and not answered:
            raise result.failed[0][1]
        return result

    def _needs_listing(self, known: Folder, changed_ns: int, now: float) -> bool:
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
        self._on_progress()
        for gone in set(self._index.folders(namespace)) - {name for name, _ in times}:
            self._index.forget_folder(namespace, gone)
        return times

    def _list(self, work: Iterable[tuple[str, str, Folder | None]], result: ScanResult) -> None:
        def one(item: tuple[str, str, Folder | None]) -> FolderListing | OSError | None:
            try:
                return read_folder(self._directory, *item, now=self._wall_clock)
            except OSError as error:
                return error

        work = list(work)
        for (namespace, name, known), listing in zip(work, self._pool.map(one, work), strict=True):
            self._on_progress()
            if isinstance(listing, OSError):
                result.failed.append((f"{namespace}/{name}", listing))
                continue
            result.listed += 1
            result.rescanned += known is None
            if listing is None:
                self._index.forget_folder(namespace, name)
                continue
            listing.folder.listed_at = self._clock()
            listing.folder.rescanned_at = listing.folder.listed_at if known is None else known.rescanned_at
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
) -> FolderListing | None:
    """List a folder, and stat the files that are not in `known` (all without it). None: no such folder, or a link.

    Raises: OSError when storage fails.
    """
    known_files = known.by_id() if known is not None else {}
    try:
        with directory.folder(namespace, name) as fd:
            changed_ns = os.fstat(fd).st_mtime_ns
            settled = now() - changed_ns / 1e9 > _MTIME_TICK_S
            listing = FolderListing(Folder(changed_ns=changed_ns if settled else 0))
            _fill(listing, fd, name, known_files)
    except OSError as error:
        if error.errno in _NOT_THERE:
            return None
        raise
    listing.folder.update_totals()
    return listing


def _fill(listing: FolderListing, fd: int, folder: str, known_files: dict[int, tuple[int, int]]) -> None:
    """The hot loop: a microsecond more a file is a second more for a million files."""
    names_here = os.listdir(fd)
    ids = list(map(names.file_id, names_here))
    into = listing.folder
    new = names_here
    if known_files:
        kept = [id_ for id_ in ids if id_ in known_files]
        into.ids.extend(kept)
        into.mtimes.extend([known_files[id_][0] for id_ in kept])
        into.sizes.extend([known_files[id_][1] for id_ in kept])
        new = [name for name, id_ in zip(names_here, ids, strict=True) if id_ not in known_files]
    for name in new:
        if names.key_of_block(folder, name) is None:
            if names.is_scratch(name):
                listing.scratch.append(name)
            else:
                into.unknown_files += 1
            continue
        try:
            found = os.stat(name, dir_fd=fd, follow_symlinks=False)
        except OSError:
            continue  # removed meanwhile, or broken: not counted, never selected
        if stat.S_ISREG(found.st_mode):
            into.add(names.file_id(name), last_used_ns(found, folder), found.st_size)
        else:
            into.unknown_files += 1


def last_used_ns(found: os.stat_result, folder: str) -> int:
    """When a block was last used: its mtime. For damaged ones, when they were moved to quarantine (ctime)."""
    return max(found.st_mtime_ns, found.st_ctime_ns) if folder == layout.DAMAGED else found.st_mtime_ns

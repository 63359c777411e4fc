# SPDX-License-Identifier: Apache-2.0
"""Lists one folder of a namespace: names, and of new ones size and mtime. System calls only, nothing is remembered."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from llmd_storage_evictor.cache import names
from llmd_storage_evictor.cache.directory import NOT_THERE, CacheDirectory
from llmd_storage_evictor.core.index import Folder
from llmd_storage_evictor.core.scan_plan import NAMES_PER_OP

# Two changes within one tick of the filesystem's clock leave one mtime: a folder that just changed is listed again.
_MTIME_TICK_S = 2.0


@dataclass(slots=True)
class FolderListing:
    """One folder as listed. scratch: names of unfinished files. ops: metadata operations that it took."""

    folder: Folder
    scratch: list[str] = field(default_factory=list)
    ops: float = 0.0


def folder_times(directory: CacheDirectory, namespace: str) -> list[tuple[str, int]]:
    """(name, mtime_ns) of those of a namespace's block folders that are there, as folders. Raises: OSError."""
    times = []
    if directory.layout is not None:
        for name in directory.block_folders(namespace):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                with directory.folder(*directory.parts(namespace, name)) as fd:
                    times.append((name, os.fstat(fd).st_mtime_ns))
        return times
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
        with directory.folder(*directory.parts(namespace, name)) as fd:
            changed_ns = os.fstat(fd).st_mtime_ns
            settled = now() - changed_ns / 1e9 > _MTIME_TICK_S
            listing = FolderListing(Folder(changed_ns=changed_ns if settled else 0))
            _fill(listing, directory, fd, name, known_files)
    except OSError as error:
        if error.errno in NOT_THERE:
            return None
        raise
    listing.folder.update_totals()
    return listing


def _fill(
    listing: FolderListing, directory: CacheDirectory, fd: int, folder: str, known_files: dict[int, tuple[int, int]]
) -> None:
    """The hot loop: a microsecond more a file is a second more for a million files."""
    names_here = os.listdir(fd)
    listing.ops = 2 + len(names_here) / NAMES_PER_OP
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
        if not directory.is_block(folder, name):
            if directory.is_scratch(name):
                listing.scratch.append(name)
            elif name != names.STATE_FOLDER:
                into.unknown_files += 1
            continue
        listing.ops += 1
        try:
            found = os.stat(name, dir_fd=fd, follow_symlinks=False)
        except OSError:
            continue  # removed meanwhile, or broken: not counted, never selected
        if stat.S_ISREG(found.st_mode):
            into.add(names.file_id(name), directory.last_used_ns(found, folder), found.st_size)
        else:
            into.unknown_files += 1

# SPDX-License-Identifier: Apache-2.0
"""Removes files: the only module that unlinks blocks.

Each unlink is preceded by two checks: does this process still lead, and a fresh stat. Only a regular file with a
block's name in the right folder is removed, and only if its mtime is still the one it was selected by. A reader that
has the file open keeps reading; later readers see a miss.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

from llmd_storage_evictor.cache import names
from llmd_storage_evictor.cache.directory import CacheDirectory
from llmd_storage_evictor.core.policy import Entry
from llmd_storage_evictor.errors import LeadershipLost


@dataclass(slots=True)
class RemovalResult:
    """What happened to the entries of one folder.

    removed: (name, bytes). refreshed: {id: new mtime in ns}, used again and so skipped. missing: ids that were already
    gone. failed: {id: error}. leadership_lost: removal stopped, since this process may not remove any more.
    """

    namespace: str
    folder: str
    removed: list[tuple[str, int]] = field(default_factory=list)
    refreshed: dict[int, int] = field(default_factory=dict)
    missing: list[int] = field(default_factory=list)
    failed: dict[int, OSError] = field(default_factory=dict)
    leadership_lost: bool = False


def by_folder(entries: Iterable[Entry]) -> list[list[Entry]]:
    """The entries grouped by folder, in the same order within each."""
    parts: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        parts.setdefault((entry.namespace, entry.folder), []).append(entry)
    return list(parts.values())


def remove(
    directory: CacheDirectory,
    pool: Executor,
    entries: Iterable[Entry],
    may_remove: Callable[[], bool],
    on_progress: Callable[[], None] = lambda: None,
) -> list[RemovalResult]:
    """Remove blocks, folders in parallel. Errors are in the results.

    on_progress: called after each folder. Raises: LeadershipLost when may_remove() was false at the start.
    """
    if not may_remove():
        raise LeadershipLost("another process may be the leader by now: nothing was removed")
    results = []
    for result in pool.map(lambda part: _remove_in_folder(directory, part, may_remove), by_folder(entries)):
        on_progress()
        results.append(result)
    return results


def _remove_in_folder(
    directory: CacheDirectory, entries: Sequence[Entry], may_remove: Callable[[], bool]
) -> RemovalResult:
    namespace, folder = entries[0].namespace, entries[0].folder
    result = RemovalResult(namespace, folder)
    try:
        with directory.folder(*directory.parts(namespace, folder)) as fd:
            present = {names.file_id(name): name for name in os.listdir(fd)}
            for entry in entries:
                if not may_remove():
                    result.leadership_lost = True
                    return result
                _remove_one(directory, fd, entry, present.get(entry.id), result)
    except OSError as error:
        # Only opening and listing the folder raise: nothing in it was removed.
        result.failed |= {entry.id: error for entry in entries}
    return result


def _remove_one(directory: CacheDirectory, fd: int, entry: Entry, name: str | None, result: RemovalResult) -> None:
    if name is None or not directory.is_block(entry.folder, name):
        result.missing.append(entry.id)
        return
    try:
        found = os.stat(name, dir_fd=fd, follow_symlinks=False)
        seen_ns = max(0, directory.last_used_ns(found, entry.folder))
        if not stat.S_ISREG(found.st_mode):
            result.missing.append(entry.id)
        elif seen_ns != entry.mtime_ns:
            result.refreshed[entry.id] = seen_ns
        else:
            os.unlink(name, dir_fd=fd)
            result.removed.append((name, entry.size))
    except FileNotFoundError:
        result.missing.append(entry.id)
    except OSError as error:
        result.failed[entry.id] = error


def remove_scratch(
    directory: CacheDirectory, place: Sequence[str], files: Iterable[str], before: float, may_remove: Callable[[], bool]
) -> list[tuple[str, int]]:
    """Remove unfinished files last written before `before` (wall clock). place: path below the root, by component.

    Returns: (name, bytes) of each file removed. Raises: OSError when the folder cannot be opened.
    """
    removed = []
    with directory.folder(*place) as fd:
        for name in files:
            if not directory.is_scratch(name) or not may_remove():
                continue
            try:
                found = os.stat(name, dir_fd=fd, follow_symlinks=False)
                if stat.S_ISREG(found.st_mode) and found.st_mtime < before:
                    os.unlink(name, dir_fd=fd)
                    removed.append((name, found.st_size))
            except OSError:
                continue  # its writer finished, or it cannot be removed now: the next cleanup tries again
    return removed

# SPDX-License-Identifier: Apache-2.0
"""Removes files: the only module that unlinks blocks.

Before each unlink it is asked whether this process may still remove, and the file is looked at once more: it goes only
if it is a regular file with a block's name, in its place, and has not been used since it was chosen. A reader that
has the file open keeps reading; one that comes later has a clean miss.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

from llmd_storage_evictor.cache import names
from llmd_storage_evictor.cache.directory import CacheDirectory
from llmd_storage_evictor.cache.scanner import age_ns
from llmd_storage_evictor.core.policy import Entry
from llmd_storage_evictor.errors import LeadershipLost


@dataclass(slots=True)
class Removal:
    """What became of one folder's part. removed: (name, size). touched: {id: new mtime}. gone: ids not there.

    failed: ids that could not be removed, with the error. stopped: this process may not remove any more.
    """

    namespace: str
    folder: str
    removed: list[tuple[str, int]] = field(default_factory=list)
    touched: dict[int, int] = field(default_factory=dict)
    gone: list[int] = field(default_factory=list)
    failed: dict[int, OSError] = field(default_factory=dict)
    stopped: bool = False


def by_folder(entries: Iterable[Entry]) -> list[list[Entry]]:
    """The same entries, those of a folder together, in their order."""
    parts: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        parts.setdefault((entry.namespace, entry.folder), []).append(entry)
    return list(parts.values())


def remove(
    directory: CacheDirectory,
    pool: Executor,
    entries: Iterable[Entry],
    may_remove: Callable[[], bool],
    advanced: Callable[[], None] = lambda: None,
) -> list[Removal]:
    """Remove blocks, folders in parallel.

    Returns: what became of each folder's part, whatever failed. Raises: AuthorityLost when nothing was removed because
    it may not be.
    """
    if not may_remove():
        raise LeadershipLost("another process may be the leader by now: nothing was removed")
    results = []
    for result in pool.map(lambda part: _remove_part(directory, part, may_remove), by_folder(entries)):
        advanced()
        results.append(result)
    return results


def _remove_part(directory: CacheDirectory, entries: Sequence[Entry], may_remove: Callable[[], bool]) -> Removal:
    namespace, folder = entries[0].namespace, entries[0].folder
    result = Removal(namespace, folder)
    try:
        with directory.folder(namespace, folder) as fd:
            present = {names.file_id(name): name for name in os.listdir(fd)}
            for entry in entries:
                if not may_remove():
                    result.stopped = True
                    return result
                _remove_one(fd, entry, present.get(entry.id), result)
    except OSError as error:
        # Only opening and listing the folder come here: nothing of it was removed.
        result.failed |= {entry.id: error for entry in entries}
    return result


def _remove_one(fd: int, entry: Entry, name: str | None, result: Removal) -> None:
    if name is None or names.key_of_block(entry.folder, name) is None:
        result.gone.append(entry.id)
        return
    try:
        found = os.stat(name, dir_fd=fd, follow_symlinks=False)
        seen_ns = max(0, age_ns(found, entry.folder))
        if not stat.S_ISREG(found.st_mode):
            result.gone.append(entry.id)
        elif seen_ns != entry.mtime_ns:
            result.touched[entry.id] = seen_ns
        else:
            os.unlink(name, dir_fd=fd)
            result.removed.append((name, entry.size))
    except FileNotFoundError:
        result.gone.append(entry.id)
    except OSError as error:
        result.failed[entry.id] = error


def remove_scratch(
    directory: CacheDirectory, place: Sequence[str], files: Iterable[str], before: float, may_remove: Callable[[], bool]
) -> list[tuple[str, int]]:
    """Remove unfinished files last written before `before` (wall clock). place: names of folders below the root.

    Returns: (name, size) of what was removed. Raises: OSError when the folder cannot be opened.
    """
    removed = []
    with directory.folder(*place) as fd:
        for name in files:
            if not names.is_scratch(name) or not may_remove():
                continue
            try:
                found = os.stat(name, dir_fd=fd, follow_symlinks=False)
                if stat.S_ISREG(found.st_mode) and found.st_mtime < before:
                    os.unlink(name, dir_fd=fd)
                    removed.append((name, found.st_size))
            except OSError:
                continue  # its writer finished; or it cannot be removed: the next sweep tries again
    return removed

# SPDX-License-Identifier: Apache-2.0
"""Removes what nobody will come back for: unfinished files, abandoned namespaces, the scratch of dead probes.

Folders are removed with rmdir only, so whatever else someone put into them keeps them, and itself, alive.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Callable, Iterable

from llmd_storage_connector import layout
from llmd_storage_evictor.cache import names
from llmd_storage_evictor.cache.directory import FOLDER, CacheDirectory
from llmd_storage_evictor.cache.remover import remove_scratch

May = Callable[[], bool]
_PROBE_RUN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")
_PROBE_MARK = "mail"  # what every probe makes first
_DEPTH = 8
_STATE_FOLDERS = ((names.STATE_FOLDER,), (names.STATE_FOLDER, "index"))


def sweep_scratch(
    directory: CacheDirectory,
    found: Iterable[tuple[str, str, list[str]]],
    namespaces: Iterable[str],
    before: float,
    may: May,
) -> list[tuple[str, int]]:
    """Unfinished files last written before `before`: those found in block folders, those beside the manifests, our own.

    Returns: (name, size) of what was removed. A folder that fails is left for the next time.
    """
    removed = []
    for namespace, folder, files in found:
        with contextlib.suppress(OSError):
            removed += remove_scratch(directory, (namespace, folder), files, before, may)
    for place in (*((name,) for name in namespaces), *_STATE_FOLDERS):
        with contextlib.suppress(OSError):
            with directory.folder(*place) as fd:
                files = [name for name in os.listdir(fd) if names.is_scratch(name)]
            removed += remove_scratch(directory, place, files, before, may)
    return removed


def last_used_ns(directory: CacheDirectory, namespace: str) -> int:
    """When the namespace was last opened, as its folder and its manifest tell. Raises: OSError."""
    with directory.folder(namespace) as fd:
        used = os.fstat(fd).st_mtime_ns
        with contextlib.suppress(FileNotFoundError):
            used = max(used, os.stat(layout.MANIFEST, dir_fd=fd, follow_symlinks=False).st_mtime_ns)
    return used


def retire(directory: CacheDirectory, namespace: str, may: May) -> None:
    """Remove the manifest, so that an engine that comes back makes the namespace anew. Raises: OSError.

    Requires: before the blocks are removed. A manifest that is not this namespace's is not ours to remove.
    """
    if directory.manifest(namespace) is not None and may():
        with directory.folder(namespace) as fd, contextlib.suppress(FileNotFoundError):
            os.unlink(layout.MANIFEST, dir_fd=fd)


def remove_folders(directory: CacheDirectory, namespace: str, may: May) -> bool:
    """Remove the namespace's folders, as far as they are empty. Returns: whether the namespace is gone."""
    if not may():
        return False
    try:
        with directory.folder(namespace) as fd:
            if layout.MANIFEST in os.listdir(fd):
                return False  # an engine has come back
            for name in names.BLOCK_FOLDERS:
                with contextlib.suppress(OSError):
                    os.rmdir(name, dir_fd=fd)
        with directory.folder() as fd:
            os.rmdir(namespace, dir_fd=fd)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def sweep_probes(probe_dir: str, before: float, may: May) -> list[str]:
    """Scratch folders of probes in which nothing was written since `before` (wall clock).

    Returns: names of the runs that were removed. Raises: OSError, but nothing where there is no such folder.
    """
    try:
        top = os.open(probe_dir, FOLDER)
    except (FileNotFoundError, NotADirectoryError):
        return []
    removed = []
    try:
        for run in filter(_PROBE_RUN.fullmatch, os.listdir(top)):
            with contextlib.suppress(OSError):
                if _newest(top, run, _DEPTH) < before and _is_probe(top, run) and may():
                    _remove_tree(top, run, may)
                    removed.append(run)
    finally:
        os.close(top)
    return removed


def _is_probe(top: int, run: str) -> bool:
    return stat.S_ISDIR(os.stat(f"{run}/{_PROBE_MARK}", dir_fd=top, follow_symlinks=False).st_mode)


def _newest(parent: int, name: str, depth: int) -> float:
    """The latest mtime in a tree. Raises: OSError for what is no folder, is too deep, or lies on another device."""
    fd = os.open(name, FOLDER, dir_fd=parent)
    try:
        own = os.fstat(fd)
        if depth == 0 or own.st_dev != os.fstat(parent).st_dev:
            raise OSError(f"{name} is not a probe's")
        newest = own.st_mtime
        for below in os.listdir(fd):
            found = os.stat(below, dir_fd=fd, follow_symlinks=False)
            deeper = _newest(fd, below, depth - 1) if stat.S_ISDIR(found.st_mode) else found.st_mtime
            newest = max(newest, deeper)
    finally:
        os.close(fd)
    return newest


def _remove_tree(parent: int, name: str, may: May) -> None:
    """Regular files and the folders they leave empty; `mail`, the mark, last, so that a broken-off removal goes on."""
    fd = os.open(name, FOLDER, dir_fd=parent)
    try:
        for below in sorted(os.listdir(fd), key=lambda one: one == _PROBE_MARK):
            mode = os.stat(below, dir_fd=fd, follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                _remove_tree(fd, below, may)
            elif stat.S_ISREG(mode) and may():
                os.unlink(below, dir_fd=fd)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=parent)

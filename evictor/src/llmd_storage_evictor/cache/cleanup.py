# SPDX-License-Identifier: Apache-2.0
"""Removes leftovers: unfinished files of dead writers, unused namespaces, scratch folders of dead probes.

Folders are removed with rmdir only, so a folder with an unknown file in it stays, and the file too.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Callable, Iterable

from llmd_storage_connector.blocks import layout
from llmd_storage_evictor.cache import names
from llmd_storage_evictor.cache.directory import FOLDER, CacheDirectory
from llmd_storage_evictor.cache.remover import remove_scratch

MayRemove = Callable[[], bool]
_PROBE_RUN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")
_PROBE_MARKER = "channel"  # the folder that every probe creates first
_DEPTH = 8
_STATE_FOLDERS = ((names.STATE_FOLDER,), (names.STATE_FOLDER, "index"))


def remove_stale_scratch(
    directory: CacheDirectory,
    found: Iterable[tuple[str, str, list[str]]],
    namespaces: Iterable[str],
    before: float,
    may_remove: MayRemove,
) -> list[tuple[str, int]]:
    """Remove unfinished files last written before `before`: the given ones, beside manifests, in .evictor.

    Returns: (name, bytes) of each file removed. A folder that fails is tried again the next time.
    """
    removed = []
    for namespace, folder, files in found:
        with contextlib.suppress(OSError):
            removed += remove_scratch(directory, directory.parts(namespace, folder), files, before, may_remove)
    for place in (*map(directory.parts, namespaces), *_STATE_FOLDERS):
        with contextlib.suppress(OSError):
            with directory.folder(*place) as fd:
                files = [name for name in os.listdir(fd) if names.is_scratch(name)]
            removed += remove_scratch(directory, place, files, before, may_remove)
    return removed


def namespace_last_used_ns(directory: CacheDirectory, namespace: str) -> int:
    """When the namespace was last opened: the later mtime of its folder and its manifest. Raises: OSError."""
    with directory.folder(*directory.parts(namespace)) as fd:
        used = os.fstat(fd).st_mtime_ns
        with contextlib.suppress(FileNotFoundError):
            used = max(used, os.stat(layout.MANIFEST, dir_fd=fd, follow_symlinks=False).st_mtime_ns)
    return used


def remove_manifest(directory: CacheDirectory, namespace: str, may_remove: MayRemove) -> None:
    """Remove the manifest, so that an engine that comes back creates the namespace anew, and what lies beside it.

    Requires: called before the blocks are removed. A manifest with another identity stays. Raises: OSError.
    """
    if directory.layout is None and directory.manifest(namespace) is not None and may_remove():
        with directory.folder(namespace) as fd:
            for name in (layout.MANIFEST, layout.COLLECTED):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=fd)


def remove_empty_folders(directory: CacheDirectory, namespace: str, may_remove: MayRemove) -> bool:
    """Remove the namespace's empty folders. Returns: whether the namespace is gone."""
    if directory.layout is not None or not may_remove():
        return False  # other connectors' folders are theirs
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


def remove_stale_probes(probe_dir: str, before: float, may_remove: MayRemove) -> list[str]:
    """Remove the scratch folders of probes in which nothing was written since `before` (wall clock).

    Returns: names of the runs that were removed. Raises: OSError; a missing probe_dir is no error.
    """
    try:
        top = os.open(probe_dir, FOLDER)
    except (FileNotFoundError, NotADirectoryError):
        return []
    removed = []
    try:
        for run in filter(_PROBE_RUN.fullmatch, os.listdir(top)):
            with contextlib.suppress(OSError):
                if _newest_mtime(top, run, _DEPTH) < before and _is_probe(top, run) and may_remove():
                    _remove_tree(top, run, may_remove)
                    removed.append(run)
    finally:
        os.close(top)
    return removed


def _is_probe(top: int, run: str) -> bool:
    return stat.S_ISDIR(os.stat(f"{run}/{_PROBE_MARKER}", dir_fd=top, follow_symlinks=False).st_mode)


def _newest_mtime(parent: int, name: str, depth: int) -> float:
    """The newest mtime in a tree. Raises: OSError when it is no folder, too deep, or on another device."""
    fd = os.open(name, FOLDER, dir_fd=parent)
    try:
        own = os.fstat(fd)
        if depth == 0 or own.st_dev != os.fstat(parent).st_dev:
            raise OSError(f"{name} is not a probe's folder")
        newest = own.st_mtime
        for below in os.listdir(fd):
            found = os.stat(below, dir_fd=fd, follow_symlinks=False)
            deeper = _newest_mtime(fd, below, depth - 1) if stat.S_ISDIR(found.st_mode) else found.st_mtime
            newest = max(newest, deeper)
    finally:
        os.close(fd)
    return newest


def _remove_tree(parent: int, name: str, may_remove: MayRemove) -> None:
    """Regular files, and folders left empty. The marker goes last, so that an interrupted removal goes on next time."""
    fd = os.open(name, FOLDER, dir_fd=parent)
    try:
        for below in sorted(os.listdir(fd), key=lambda one: one == _PROBE_MARKER):
            mode = os.stat(below, dir_fd=fd, follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                _remove_tree(fd, below, may_remove)
            elif stat.S_ISREG(mode) and may_remove():
                os.unlink(below, dir_fd=fd)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=parent)

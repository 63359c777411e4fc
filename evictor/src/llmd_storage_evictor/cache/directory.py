# SPDX-License-Identifier: Apache-2.0
"""System calls on the cache directory. Every path is opened one component at a time (openat).

Symbolic links are never followed, and folders on another device (something mounted into the cache) are not entered.
So nothing outside the cache can be reached, whatever the directory holds.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from llmd_storage_connector.blocks import layout
from llmd_storage_connector.blocks.format import Buffer
from llmd_storage_connector.identity.facts import digest_of
from llmd_storage_core import publish, strategies
from llmd_storage_core.folders import FOLDER_MODE
from llmd_storage_core.room import counted_files
from llmd_storage_evictor.cache import names
from llmd_storage_evictor.errors import NotFound, Unavailable
from llmd_storage_evictor.layouts import Layout, Levels, space_name, space_parts

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
FILE_MODE = 0o660
_MAX_MANIFEST_BYTES = 4 << 20
# No such folder, or something else of that name: a file, a link, another filesystem.
NOT_THERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV}


class Space(NamedTuple):
    """Room on a filesystem. free_bytes, free_files: available to us; free_files None: it does not count files."""

    total_bytes: int
    free_bytes: int
    free_files: int | None


class CacheDirectory:
    """The cache directory. Thread: any; open() and close() only while no other call is running.

    layout: of another connector's directory; None: of this project's.
    """

    def __init__(self, root: str | Path, layout: Layout | None = None) -> None:
        self.root, self.layout = Path(root), layout
        self._fd = -1
        self._device = 0

    def open(self) -> None:
        """Raises: NotFound, Unavailable. Blocks as long as storage does, like every method here."""
        self.close()
        try:
            # The root itself may be a link: the operator chose it.
            self._fd = os.open(self.root, FOLDER & ~os.O_NOFOLLOW)
        except OSError as error:
            kind = NotFound if isinstance(error, FileNotFoundError) and self.root.parent.is_dir() else Unavailable
            raise kind(
                f"the cache directory {self.root} cannot be opened ({error.strerror}): mount the shared claim there, "
                "readable for this pod's user or group, or set root_dir to where it is"
            ) from error
        self._device = os.fstat(self._fd).st_dev

    def close(self) -> None:
        """Close the descriptor."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def namespaces(self) -> list[str]:
        """Names of the namespace folders, sorted. Raises: OSError."""
        if self.layout is not None:
            return sorted({space_name(parts) for levels in self.layout.spaces for parts in self._walk((), levels)})
        with os.scandir(self._fd) as entries:
            return sorted(
                entry.name
                for entry in entries
                if names.is_namespace(entry.name) and entry.is_dir(follow_symlinks=False)
            )

    def parts(self, namespace: str, folder: str = "") -> tuple[str, ...]:
        """The folders from the root to a namespace, or to a folder of its blocks."""
        below = tuple(filter(None, folder.split("/")))
        return (namespace, *below) if self.layout is None else (*space_parts(namespace), *below)

    def block_folders(self, namespace: str) -> Iterator[str]:
        """The folders in which blocks of a namespace may lie. Raises: OSError."""
        if self.layout is None:
            yield from names.BLOCK_FOLDERS
        else:
            yield from ("/".join(parts) for parts in self._walk(self.parts(namespace), self.layout.folders))

    def is_block(self, folder: str, name: str) -> bool:
        """Whether a file of this name in this folder of a namespace is a block."""
        if self.layout is None:
            return names.key_of_block(folder, name) is not None
        return self.layout.is_block(folder.split("/"), name)

    def is_scratch(self, name: str) -> bool:
        """Whether a file of this name is an unfinished one."""
        return names.is_scratch(name) or (self.layout is not None and self.layout.is_scratch(name))

    def last_used_ns(self, found: os.stat_result, folder: str) -> int:
        """When a block was last used: its mtime, which this project's readers refresh. Of other connectors' blocks,
        also its atime, where the filesystem keeps one. Of damaged ones, when they were moved to quarantine (ctime).
        """
        if self.layout is not None:
            return max(found.st_mtime_ns, found.st_atime_ns)
        return max(found.st_mtime_ns, found.st_ctime_ns) if folder == layout.DAMAGED else found.st_mtime_ns

    def _walk(self, at: tuple[str, ...], levels: Levels) -> Iterator[tuple[str, ...]]:
        """Folders below, level by level of names that fit. What is a file or a link ends its way silently."""
        if not levels:
            yield ()
            return
        try:
            with self.folder(*at) as fd:
                found = sorted(filter(levels[0].fullmatch, os.listdir(fd)))
        except OSError as error:
            if error.errno not in NOT_THERE or not at:
                raise
            return
        for name in found:
            for below in self._walk((*at, name), levels[1:]):
                yield (name, *below)

    @contextlib.contextmanager
    def folder(self, *parts: str) -> Iterator[int]:
        """An open descriptor of a folder below the root. Raises: OSError (ELOOP or ENOTDIR for a link)."""
        fd = os.dup(self._fd)
        try:
            for part in parts:
                below = os.open(part, FOLDER, dir_fd=fd)
                os.close(fd)
                fd = below
                if os.fstat(fd).st_dev != self._device:
                    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), "/".join(parts))
            yield fd
        finally:
            os.close(fd)

    def space(self) -> Space:
        """Of the filesystem, as statvfs reports it. Raises: OSError."""
        found = os.fstatvfs(self._fd)
        free_files, _ = counted_files(found) or (None, 0)
        return Space(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize, free_files)

    def manifest(self, namespace: str) -> dict[str, Any] | None:
        """The namespace's manifest. None: there is none, or its identity is not this folder's. Raises: OSError."""
        if self.layout is not None:
            return {"model": self.layout.model(self.parts(namespace))}
        try:
            with self.folder(namespace) as fd:
                data = read_file(fd, layout.MANIFEST, _MAX_MANIFEST_BYTES)
            found = json.loads(data)
            belongs = layout.namespace_name(digest_of(found["fields"])) == namespace
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        return found if belongs else None

    def make_state_folder(self, *below: str) -> None:
        """Create .evictor, and these folders in it. Raises: OSError."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(names.STATE_FOLDER, FOLDER_MODE, dir_fd=self._fd)
            self._make_group_writable(names.STATE_FOLDER)
        for name in below:
            with self.folder(names.STATE_FOLDER) as fd, contextlib.suppress(FileExistsError):
                os.mkdir(name, FOLDER_MODE, dir_fd=fd)
                self._make_group_writable(names.STATE_FOLDER, name)

    def _make_group_writable(self, *parts: str) -> None:
        """Restore the group bits that the umask removed."""
        with contextlib.suppress(PermissionError), self.folder(*parts) as fd:
            os.fchmod(fd, FOLDER_MODE)


def open_regular(folder: int, name: str) -> BinaryIO:
    """A regular file, to read. Raises: OSError; ValueError when it is not regular."""
    fd = os.open(name, READ, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise ValueError(f"{name} is not a regular file")
    # ceph-fuse keeps serving this node's cached pages after another node has overwritten the file with content of
    # the same length.
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    return open(fd, "rb")


def read_file(folder: int, name: str, limit: int) -> bytes:
    """The bytes of a regular file. Raises: OSError; ValueError when it is longer than `limit` bytes or not regular."""
    with open_regular(folder, name) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"{name} is longer than {limit} bytes")
    return data


def replace_file(folder: int, name: str, parts: list[Buffer]) -> None:
    """Write a file atomically. Raises: OSError; then nothing is left behind."""
    publish.publish(strategies.DEFAULT, folder, name, publish.whole(parts))

# SPDX-License-Identifier: Apache-2.0
"""How a finished file gets its name: the one place that decides when other nodes see it.

On CephFS a file that is renamed after its close often costs the first other client five seconds to look up, and one
that was linked sometimes does; the other two strategies here do not. A function per strategy, all with the same
promise: after it returns True the whole file is readable under `name`; when it fails, nothing it wrote stays behind.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import secrets
import statistics
import time
from collections.abc import Callable, Sequence

from llmd_storage_core.scratch import scratch_name
from llmd_storage_core.strategies import EXCLUSIVE, LINK, RENAME, RENAME_FSYNC, SAMPLES

Buffer = bytes | bytearray | memoryview
# A folder: an open descriptor, or a path.
Folder = int | str
# Fills a new, empty file, whole. What it raises, publish raises.
Write = Callable[[int], None]
Synced = Callable[[int], None]

FILE_MODE = 0o660
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_WRITER = secrets.token_hex(6)
_numbers = itertools.count()


def ignore(fd: int) -> None:
    """Leaves a file as it is."""


def publish(strategy: str, folder: Folder, name: str, write: Write, synced: Synced = ignore) -> bool:
    """Make the file `name` in `folder` of what `write` puts into it, visible to other nodes on return.

    synced: called with the file when it is on storage, by a strategy that waits for that; it raises nothing.

    Returns: False when the name was there already (its content is left alone, except by the rename strategies, which
    replace it with equal content). Raises: OSError, and what `write` raises. Blocks: as long as storage does.
    """
    return _PUBLISH[strategy](folder, name, write, synced)


def whole(buffers: Sequence[Buffer]) -> Write:
    """Writes these, one after the other."""
    return lambda fd: _write_all(fd, buffers)


def _rename_fsync(folder: Folder, name: str, write: Write, synced: Synced) -> bool:
    """Rename while still open, then fsync the same descriptor."""
    scratch, fd = _write_scratch(folder, write)
    named = scratch
    try:
        _rename(folder, scratch, name)
        named = name
        os.fsync(fd)
        synced(fd)
    except BaseException:
        _remove(folder, named)
        raise
    finally:
        os.close(fd)
    return True


def _link(folder: Folder, name: str, write: Write, _: Synced) -> bool:
    """Give the finished file its second name, then drop the first. Never replaces a block."""
    scratch, fd = _write_scratch(folder, write)
    try:
        os.close(fd)
        at, dir_fd = _at(folder)
        os.link(at + scratch, at + name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd, follow_symlinks=False)
    except FileExistsError:
        return False
    finally:
        _remove(folder, scratch)
    return True


def _exclusive(folder: Folder, name: str, write: Write, _: Synced) -> bool:
    """Create under the final name: the fewest round trips, but readers meet unfinished files.

    They refuse those by length and checksum, so that costs a miss and never a wrong byte.
    """
    try:
        fd = _open(folder, name)
    except FileExistsError:
        return False
    try:
        try:
            write(fd)
        finally:
            os.close(fd)  # network filesystems tell of a full disk here
    except BaseException:
        _remove(folder, name)
        raise
    return True


def _rename_after_close(folder: Folder, name: str, write: Write, _: Synced) -> bool:
    """The common way; fine where one kernel has all there is to know."""
    scratch, fd = _write_scratch(folder, write)
    try:
        os.close(fd)
        _rename(folder, scratch, name)
    except BaseException:
        _remove(folder, scratch)
        raise
    return True


_PUBLISH: dict[str, Callable[[Folder, str, Write, Synced], bool]] = {
    RENAME_FSYNC: _rename_fsync,
    LINK: _link,
    EXCLUSIVE: _exclusive,
    RENAME: _rename_after_close,
}


def measure(strategy: str, folder: str, payload: bytes) -> float:
    """Seconds to publish a file this way: the median of a few. Raises: OSError. Blocks: as long as storage does."""
    took = []
    for _ in range(SAMPLES):
        name = next_scratch()
        began = time.perf_counter()
        publish(strategy, folder, name, whole([payload]))
        took.append(time.perf_counter() - began)
        _remove(folder, name)
    return statistics.median(took)


def next_scratch() -> str:
    """A name for a file that is being written, which no other file has. Thread: any."""
    return scratch_name(_WRITER, next(_numbers))


def sets_mode() -> bool:
    """Whether a new file's mode has to be set, since the umask takes of FILE_MODE: others of the group must be able to
    mark it as used.
    """
    return bool(_umask() & FILE_MODE)


def _at(folder: Folder) -> tuple[str, int | None]:
    """Prefix and dir_fd that name a file in the folder."""
    return ("", folder) if isinstance(folder, int) else (folder.rstrip("/") + "/", None)


def _open(folder: Folder, name: str) -> int:
    at, dir_fd = _at(folder)
    fd = os.open(at + name, _CREATE, FILE_MODE, dir_fd=dir_fd)
    if sets_mode():
        # Where modes cannot be set, the mount decides them.
        with contextlib.suppress(OSError):
            os.fchmod(fd, FILE_MODE)
    return fd


@functools.cache
def _umask() -> int:
    """The process's, which only this file tells without changing it. Unknown: as if it took everything."""
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1], 8) for line in status if line.startswith("Umask:"))
    except (OSError, StopIteration, ValueError):
        return 0o777


def _write_scratch(folder: Folder, write: Write) -> tuple[str, int]:
    scratch = next_scratch()
    fd = _open(folder, scratch)
    try:
        write(fd)
    except BaseException:
        os.close(fd)
        _remove(folder, scratch)
        raise
    return scratch, fd


def _write_all(fd: int, buffers: Sequence[Buffer]) -> None:
    left = [memoryview(buffer).cast("B") for buffer in buffers]
    while left:
        written = os.writev(fd, left)
        while left and written >= len(left[0]):
            written -= len(left.pop(0))
        if left:
            left[0] = left[0][written:]


def _rename(folder: Folder, old: str, new: str) -> None:
    at, dir_fd = _at(folder)
    os.rename(at + old, at + new, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)


def _remove(folder: Folder, name: str) -> None:
    at, dir_fd = _at(folder)
    with contextlib.suppress(OSError):
        os.unlink(at + name, dir_fd=dir_fd)

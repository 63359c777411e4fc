# SPDX-License-Identifier: Apache-2.0
"""How a finished file gets its name: the one place that decides when other nodes see it.

On CephFS a file that is renamed after its close often costs the first other client five seconds to look up, and one
that was linked sometimes does; the other two strategies here do not. A function per strategy, all with the same
promise: after it returns True the whole file is readable under `name`; when it fails, nothing it wrote stays behind.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

from llmd_storage_core.scratch import scratch_name

Buffer = bytes | bytearray | memoryview
# A folder: an open descriptor, or a path.
Folder = int | str
# Fills a new, empty file, whole. What it raises, publish raises.
Write = Callable[[int], None]

FILE_MODE = 0o660
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_WRITER = secrets.token_hex(6)
_numbers = itertools.count()


def publish(strategy: str, folder: Folder, name: str, write: Write) -> bool:
    """Make the file `name` in `folder` of what `write` puts into it, visible to other nodes on return.

    Returns: False when the name was there already (its content is left alone, except by the rename strategies, which
    replace it with equal content). Raises: OSError, and what `write` raises. Blocks: as long as storage does.
    """
    return STRATEGIES[strategy](folder, name, write)


def whole(buffers: Sequence[Buffer]) -> Write:
    """Writes these, one after the other."""
    return lambda fd: _write_all(fd, buffers)


def _rename_fsync(folder: Folder, name: str, write: Write) -> bool:
    """Rename while still open, then fsync the same descriptor."""
    scratch, fd = _write_scratch(folder, write)
    named = scratch
    try:
        _rename(folder, scratch, name)
        named = name
        os.fsync(fd)
    except BaseException:
        _remove(folder, named)
        raise
    finally:
        os.close(fd)
    return True


def _link(folder: Folder, name: str, write: Write) -> bool:
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


def _exclusive(folder: Folder, name: str, write: Write) -> bool:
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


def _rename_after_close(folder: Folder, name: str, write: Write) -> bool:
    """The common way; fine where one kernel has all there is to know."""
    scratch, fd = _write_scratch(folder, write)
    try:
        os.close(fd)
        _rename(folder, scratch, name)
    except BaseException:
        _remove(folder, scratch)
        raise
    return True


STRATEGIES: dict[str, Callable[[Folder, str, Write], bool]] = {
    "rename_fsync": _rename_fsync,
    "link": _link,
    "exclusive": _exclusive,
    "rename": _rename_after_close,
}
AUTO = "auto"
# Atomic on every POSIX filesystem, and the one atomic way that never met CephFS's five-second first lookup in 2000
# files (a link did, in one of fifty): docs/decisions/0001-publish.md.
DEFAULT = "rename_fsync"

# What "auto" may choose from, the most wanted first: strategies that are known to be right on the filesystem.
LOCAL = ("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "tmpfs", "ramfs", "overlay")
CEPH = ("ceph", "fuse.ceph", "fuse.ceph-fuse")
# An atomic strategy is worth this much more time than the quickest one.
ATOMIC_IS_WORTH = 1.2
TRIALS = 3


def candidates(strategy: str, filesystem: str) -> tuple[str, ...]:
    """What a configured strategy leaves on this filesystem (its type, as in mountinfo), the most wanted first."""
    if strategy != AUTO:
        return (strategy,)
    if filesystem in LOCAL:
        return ("rename",)  # one kernel: a renamed file is seen at once, and a cache needs no fsync
    if filesystem in CEPH:
        return (DEFAULT,)
    return (DEFAULT, "exclusive")


def best(seconds: Mapping[str, float]) -> str:
    """Of strategies that were measured, the most wanted first: the one to use."""
    quickest = min(seconds.values())
    return next(strategy for strategy, took in seconds.items() if took <= quickest * ATOMIC_IS_WORTH)


def measure(strategy: str, folder: str, payload: bytes) -> float:
    """Seconds to publish a file this way: the median of a few. Raises: OSError. Blocks: as long as storage does."""
    took = []
    for _ in range(TRIALS):
        name = scratch_name(_WRITER, next(_numbers))
        began = time.perf_counter()
        publish(strategy, folder, name, whole([payload]))
        took.append(time.perf_counter() - began)
        _remove(folder, name)
    return statistics.median(took)


def _at(folder: Folder) -> tuple[str, int | None]:
    """Prefix and dir_fd that name a file in the folder."""
    return ("", folder) if isinstance(folder, int) else (folder.rstrip("/") + "/", None)


def _open(folder: Folder, name: str) -> int:
    at, dir_fd = _at(folder)
    return os.open(at + name, _CREATE, FILE_MODE, dir_fd=dir_fd)


def _write_scratch(folder: Folder, write: Write) -> tuple[str, int]:
    scratch = scratch_name(_WRITER, next(_numbers))
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

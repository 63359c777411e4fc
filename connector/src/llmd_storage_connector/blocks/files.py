# SPDX-License-Identifier: Apache-2.0
"""Files of a mount: reading and writing whole ranges, and what is found out of a mount by trying it with a file."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import secrets
import time

from llmd_storage_connector.blocks import layout, publish
from llmd_storage_connector.blocks.format import ALIGNMENT
from llmd_storage_connector.errors import Corrupt, Rule

# Never follows a link, never waits for a pipe or a terminal.
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def read_all(fd: int, target: memoryview, offset: int) -> None:
    """Fill `target` from `offset` on. Raises: OSError; Corrupt when the file ends before."""
    done = 0
    while done < len(target):
        count = os.preadv(fd, [target[done:]], offset + done)
        if count == 0:
            raise Corrupt(Rule.LENGTH, f"ends at {offset + done}")
        done += count


def write_all(fd: int, buffers: list[memoryview], offset: int) -> None:
    left = sum(len(buffer) for buffer in buffers)
    while True:
        written = os.pwritev(fd, buffers, offset)
        left -= written
        if left == 0:
            return
        offset += written
        while written >= len(buffers[0]):
            written -= len(buffers.pop(0))
        buffers[0] = buffers[0][written:]


def comes_back(folder: str, flags: int) -> bool:
    """Whether a page that is written is read again, by a descriptor opened with `flags`. Raises: OSError."""
    page = mmap.mmap(-1, ALIGNMENT)
    page[:5] = b"trial"
    name = layout.scratch_name(secrets.token_hex(6), 0)
    path = f"{folder}/{name}"
    publish.publish("exclusive", folder, name, publish.whole([memoryview(page)]))
    try:
        fd = os.open(path, flags)
        try:
            page[:5] = bytes(5)
            return os.preadv(fd, [page], 0) == len(page) and page[:5] == b"trial"
        finally:
            os.close(fd)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)


def seconds_to_come_and_go(folder: str) -> float:
    """Seconds to make a small file and remove it. Not to read it: past the page cache that waits for the disk.

    Raises: OSError.
    """
    name = layout.scratch_name(secrets.token_hex(6), 0)
    began = time.perf_counter()
    publish.publish("exclusive", folder, name, publish.whole([b"trial"]))
    os.unlink(f"{folder}/{name}")
    return time.perf_counter() - began


def takes_direct_io(folder: str) -> bool:
    """Whether a file can be read past the page cache. Raises: OSError other than a refusal of that."""
    try:
        return comes_back(folder, READ | os.O_DIRECT)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):
            return False
        raise

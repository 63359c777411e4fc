# SPDX-License-Identifier: Apache-2.0
"""Reading and writing whole ranges of a file, however the kernel cuts them."""

from __future__ import annotations

import os

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
    """Write these one after the other, from `offset` on. Raises: OSError."""
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

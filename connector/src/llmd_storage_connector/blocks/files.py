# SPDX-License-Identifier: Apache-2.0
"""Reading and writing whole ranges of a file, however the kernel cuts them; and marking one as used."""

from __future__ import annotations

import fcntl
import logging
import os

from llmd_storage_connector.errors import Corrupt, Rule
from llmd_storage_connector.telemetry.rate_limited_log import RateLimitedLog

logger = logging.getLogger("vllm.llmd_storage_connector.blocks.files")

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


def write_past_cache(fd: int) -> None:
    """From now on what is written to the file goes past the page cache. Raises: OSError where that is not possible."""
    fcntl.fcntl(fd, fcntl.F_SETFL, os.O_DIRECT)


def refresh_mtime(path: str, log: RateLimitedLog) -> None:
    """Set the file's mtime to now. Where that is not permitted it is said in `log`. Blocks: as storage does."""
    try:
        os.utime(path, follow_symlinks=False)
    except PermissionError as error:
        text = (
            "%s cannot be marked as used (%s): the evictor will take such blocks for unused; let the pods share a "
            "group (fsGroup) that may write its files"
        )
        log.log(logging.WARNING, "refresh", text, path, error.strerror)
    except OSError:
        logger.debug("could not refresh %s", path, exc_info=True)

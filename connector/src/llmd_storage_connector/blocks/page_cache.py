# SPDX-License-Identifier: Apache-2.0
"""What a block leaves in this node's page cache once it is on storage: given back where nobody reads it there.

The pages count as the memory of the pod that wrote them. They can be dropped only when they are on storage, and the
kernel brings them there by itself: nothing here makes a store wait for that.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable

from llmd_storage_connector.blocks.files import READ

# The kernel writes out what is older than 30 s, and looks for that every 5 s (vm.dirty_expire_centisecs and
# dirty_writeback_centisecs).
FORGET_AFTER_S = 40.0
FORGET_EVERY_S = 1.0
# Files a poll; and that may wait. The oldest of more are left to the kernel, which takes pages back at need.
_FILES_A_POLL = 2000
MOST = 50_000


def forget_pages(fd: int) -> None:
    """Drop those of the file's pages that are on storage; writing out the others begins. Never waits for that."""
    with contextlib.suppress(OSError):
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


class WrittenFiles:
    """Files that were written and not synced. Thread: any adds, one polls."""

    def __init__(self, clock: Callable[[], float], most: int = MOST) -> None:
        self._clock = clock
        self._files: deque[tuple[float, str]] = deque(maxlen=most)

    def add(self, path: str) -> None:
        """The file was written just now."""
        self._files.append((self._clock(), path))

    def poll(self) -> None:
        """Forget the pages of files that must be on storage by now. Blocks: as long as storage does."""
        before = self._clock() - FORGET_AFTER_S
        for _ in range(_FILES_A_POLL):
            if not self._files or self._files[0][0] > before:
                return
            with contextlib.suppress(OSError):  # one that is gone took its pages along
                fd = os.open(self._files.popleft()[1], READ)
                try:
                    forget_pages(fd)
                finally:
                    os.close(fd)

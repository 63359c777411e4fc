# SPDX-License-Identifier: Apache-2.0
"""One block file that is being read, stripe by stripe, each through the buffer of the thread that reads it."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
from collections.abc import Callable

from llmd_storage_connector.blocks.files import read_all
from llmd_storage_connector.blocks.format import BlockSpec, check_header, checksum
from llmd_storage_connector.blocks.result import BlockResult, result_of
from llmd_storage_connector.errors import Corrupt

_LARGE_PAGE = 2 << 20


class BlockBuffer:
    """Page-aligned memory for a header and the stripe behind it, in a large page where it fits. Owned by one thread.

    The kernel pins a page for each that a read fills past the page cache: one instead of 512.
    """

    def __init__(self, spec: BlockSpec) -> None:
        memory = mmap.mmap(-1, spec.header_bytes + spec.longest_stripe + _LARGE_PAGE)
        begin = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        start = -(begin + spec.header_bytes) % _LARGE_PAGE
        stripe = start + spec.header_bytes
        large = spec.longest_stripe // _LARGE_PAGE * _LARGE_PAGE
        if large and hasattr(mmap, "MADV_HUGEPAGE"):
            with contextlib.suppress(OSError):  # a kernel without them
                memory.madvise(mmap.MADV_HUGEPAGE, stripe, large)
        self.whole = memoryview(memory)[start : stripe + spec.longest_stripe]
        self.header = self.whole[: spec.header_bytes]
        self.stripe = self.whole[spec.header_bytes :]


class BlockReader:
    """One block file that is being read.

    Thread: read() from any thread, a stripe once; check() and close() when all are through.
    """

    def __init__(self, spec: BlockSpec, key: bytes, fd: int, refresh: bool) -> None:
        self._spec = spec
        self._key = key
        self._fd = fd
        self._refresh = refresh
        self._header = b""
        self._checksums = [0] * spec.stripe_count

    def read(self, index: int, buffer: BlockBuffer) -> memoryview:
        """The stripe's bytes, in `buffer`, not checked yet. Raises: OSError; Corrupt for a short file."""
        at = index * self._spec.stripe_bytes
        length = min(self._spec.stripe_bytes, self._spec.payload_bytes - at)
        payload = buffer.stripe[:length]
        if index == 0:
            read_all(self._fd, buffer.whole[: self._spec.header_bytes + length], 0)
            self._header = bytes(buffer.header)
        else:
            read_all(self._fd, payload, self._spec.header_bytes + at)
        self._checksums[index] = checksum(payload)
        return payload

    def read_whole(self, buffer: BlockBuffer, sink: Callable[[int, memoryview], None]) -> BlockResult:
        """Read every stripe, handing each to `sink` with its offset before it is checked; then check and close.

        Raises: what `sink` raises.
        """
        try:
            for index in range(self._spec.stripe_count):
                sink(index * self._spec.stripe_bytes, self.read(index, buffer))
            return self.check()
        except (OSError, Corrupt) as error:
            return result_of(error)
        finally:
            self.close()

    def check(self) -> BlockResult:
        """Whether what was read is the block. Requires: every stripe was read."""
        try:
            check_header(self._spec, self._key, self._header, self._checksums)
        except Corrupt as error:
            return result_of(error)
        return BlockResult(True, refresh=self._refresh)

    def close(self) -> None:
        """Required once. Blocks: as long as storage does."""
        with contextlib.suppress(OSError):
            os.close(self._fd)

# SPDX-License-Identifier: Apache-2.0
"""The memory that blocks pass through on their way from storage."""

from __future__ import annotations

import contextlib
import ctypes
import mmap

from llmd_storage_connector.blocks.format import BlockSpec

_LARGE_PAGE = 2 << 20


class BlockBuffer:
    """Page-aligned memory for a header and the stripe behind it, in a large page where it fits. Owned by one thread.

    The kernel pins each page that a read fills past the page cache: one instead of 512. Shared memory, mmap's default,
    gets no large pages on most machines.
    address: of the header; checksums: one a stripe, for whoever reads or writes.
    """

    def __init__(self, spec: BlockSpec) -> None:
        length = spec.header_bytes + spec.longest_stripe + _LARGE_PAGE
        memory = mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
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
        self.address = begin + start
        self.stripe_address = begin + stripe
        self.checksums = (ctypes.c_uint64 * spec.stripe_count)()

# SPDX-License-Identifier: Apache-2.0
"""A user would lose: processor time for pinning pages one by one; a process that an engine forks."""

from __future__ import annotations

import mmap
import os
import re
from pathlib import Path

import pytest

from llmd_storage_connector.blocks.buffer import BlockBuffer
from llmd_storage_connector.blocks.format import BlockSpec

STRIPE = 2 << 20


def mapping(address: int) -> tuple[str, set[str]]:
    """The line of the mapping that an address of this process is in, and its flags (proc_pid_smaps(5))."""
    line = ""
    for text in Path("/proc/self/smaps").read_text().splitlines():
        if bounds := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", text):
            line = text if int(bounds[1], 16) <= address < int(bounds[2], 16) else ""
        elif line and text.startswith("VmFlags:"):
            return line, set(text.split()[1:])
    raise AssertionError(f"{address:x} is not mapped")


@pytest.mark.parametrize("payload", [STRIPE, 3 * STRIPE + 4096])
def test_a_stripe_may_be_in_a_large_page(payload: int) -> None:
    buffer = BlockBuffer(BlockSpec(bytes(32), payload))
    assert buffer.stripe_address % STRIPE == 0
    line, flags = mapping(buffer.stripe_address)
    # Shared memory would need a setting of the machine's that is off nearly everywhere.
    assert line.split()[1] == "rw-p" and "/dev/zero" not in line
    assert "hg" in flags


def test_a_small_stripe_asks_for_no_large_page() -> None:
    buffer = BlockBuffer(BlockSpec(bytes(32), 64 << 10))
    _, flags = mapping(buffer.stripe_address)
    assert "hg" not in flags


def test_a_child_that_drops_its_copy_unmaps_nothing_else() -> None:
    """As it would if it had not got the memory (MADV_DONTFORK): its own comes to lie there."""
    buffers = [BlockBuffer(BlockSpec(bytes(32), STRIPE)) for _ in range(8)]
    child = os.fork()
    if child == 0:
        own = [mmap.mmap(-1, STRIPE // 2, flags=mmap.MAP_PRIVATE) for _ in range(64)]
        buffers.clear()
        for memory in own:
            memory[::4096] = bytes(len(memory) // 4096)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0

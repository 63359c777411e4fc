# SPDX-License-Identifier: Apache-2.0
"""A user would lose: processor time for pinning pages one by one; a read into a page that was copied for a child."""

from __future__ import annotations

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
def test_a_stripe_may_be_in_a_large_page_and_is_never_copied_to_a_child(payload: int) -> None:
    buffer = BlockBuffer(BlockSpec(bytes(32), payload))
    assert buffer.stripe_address % STRIPE == 0
    line, flags = mapping(buffer.stripe_address)
    # Shared memory would need a setting of the machine's that is off nearly everywhere.
    assert line.split()[1] == "rw-p" and "/dev/zero" not in line
    assert {"hg", "dc"} <= flags


def test_a_small_stripe_asks_for_no_large_page() -> None:
    buffer = BlockBuffer(BlockSpec(bytes(32), 64 << 10))
    _, flags = mapping(buffer.stripe_address)
    assert "hg" not in flags

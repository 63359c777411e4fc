# SPDX-License-Identifier: Apache-2.0
"""What a user would lose: right answers, if anything but the very bytes that were stored were ever served."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from llmd_storage_connector.blocks.format import BlockSpec, encode_header
from llmd_storage_connector.blocks.layout import key_of
from tests.engine.models import ROW_BYTES
from tests.engine.process import Metrics
from tests.engine.served import BLOCKS, Served

pytestmark = pytest.mark.engine

STRANGER = 54321
OLD_S = 600


def flip_in_payload(file: Path, _: Path) -> None:
    _flip(file, -1000)


def flip_in_header(file: Path, _: Path) -> None:
    _flip(file, 100)


def zero_fill(file: Path, _: Path) -> None:
    """What a server's crash leaves of a file that was not synced."""
    file.write_bytes(bytes(file.stat().st_size))


def zero_the_end(file: Path, _: Path) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2].ljust(len(whole), b"\0"))


def cut(file: Path, _: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def empty(file: Path, _: Path) -> None:
    os.truncate(file, 0)


def lengthen(file: Path, _: Path) -> None:
    with file.open("ab") as end:
        end.write(b"more")


def swap(file: Path, other: Path) -> None:
    spare = file.with_name("spare")
    file.rename(spare)
    other.rename(file)
    spare.rename(other)


def copy_from_other_weights(file: Path, _: Path) -> None:
    """A whole, undamaged block of the same key, that another model's engine wrote."""
    key = key_of(file.name)
    assert key
    payload = bytes(ROW_BYTES)
    theirs = BlockSpec(hashlib.sha256(b"other weights").digest(), ROW_BYTES)
    file.write_bytes(encode_header(theirs, key, payload) + payload)


def _flip(file: Path, at: int) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 0x10
    file.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        pytest.param(flip_in_payload, "payload_checksum", id="flipped-bit"),
        pytest.param(flip_in_header, "header_checksum", id="flipped-bit-in-header"),
        pytest.param(zero_fill, "magic", id="zero-filled"),
        pytest.param(zero_the_end, "payload_checksum", id="zero-filled-end"),
        pytest.param(cut, "length", id="short"),
        pytest.param(empty, "length", id="empty"),
        pytest.param(lengthen, "length", id="over-long"),
        pytest.param(swap, "key", id="swapped"),
        pytest.param(copy_from_other_weights, "identity", id="of-other-weights"),
    ],
)
def test_a_damaged_block_is_computed_counted_and_healed(
    served: Served, damage: Callable[[Path, Path], None], rule: str
) -> None:
    tokens, files = served.stored()
    before = served.engine.metrics()
    damage(files[4], files[5])
    for file in files[4:6]:  # a young file may be one that is still being written
        os.utime(file, (time.time() - OLD_S,) * 2)
    assert served.loads(tokens) < BLOCKS
    served.rises(before, "corrupt_blocks", rule=rule)
    served.comes_back(tokens)


def to_symlink(file: Path) -> None:
    """To the right block: where a link leads can change after it was looked at."""
    target = file.rename(file.with_name("target"))
    file.symlink_to(target)


def to_fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def to_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize("replace", [to_symlink, to_fifo, to_folder])
def test_what_is_no_file_is_a_miss_and_never_waited_for(served: Served, replace: Callable[[Path], None]) -> None:
    tokens, files = served.stored()
    before = served.engine.metrics()
    replace(files[4])
    served.check(tokens)
    _counts_as_miss(served, before, "not_regular")
    seen = served.engine.metrics()
    assert seen.ours("loaded_blocks") < before.ours("loaded_blocks") + BLOCKS
    assert seen.total("deadline_misses") == before.total("deadline_misses"), "it was waited for"


def test_a_block_of_a_stranger_is_a_miss(served: Served) -> None:
    """On a shared claim others can make files too: whose user and group both are none of ours, is not believed."""
    tokens, files = served.stored()
    before = served.engine.metrics()
    os.chown(files[4], STRANGER, STRANGER)
    assert served.loads(tokens) < BLOCKS
    _counts_as_miss(served, before, "owner")


def test_a_block_that_is_still_being_written_is_a_miss_and_left_alone(served: Served) -> None:
    tokens, files = served.stored()
    before = served.engine.metrics()
    whole = files[4].read_bytes()
    os.truncate(files[4], len(whole) // 2)
    served.check(tokens)
    _counts_as_miss(served, before, "length")
    assert not list(served.root.glob(f"*/damaged/{files[4].name}"))


def _counts_as_miss(served: Served, before: Metrics, reason: str) -> None:
    names = ("load_failures", "lookup_misses")
    served.engine.wait_until(
        lambda seen: any(seen.ours(name, reason=reason) > before.ours(name, reason=reason) for name in names),
        f"{reason} counts as the reason of a miss",
    )

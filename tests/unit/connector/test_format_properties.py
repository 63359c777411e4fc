# SPDX-License-Identifier: Apache-2.0
"""A user would lose: tokens, if any file but the right one were accepted; an engine, if a file could crash the check.

For any namespace, key and content, not only the example of test_format.py.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import pytest
import xxhash
from hypothesis import assume, given
from hypothesis import strategies as st

from llmd_storage_connector.blocks.format import IDENTITY_BYTES, MAX_KEY_BYTES, BlockSpec, check, encode_header
from llmd_storage_connector.errors import Corrupt, Rule

KEYS = st.binary(min_size=1, max_size=MAX_KEY_BYTES)
IDENTITIES = st.binary(min_size=IDENTITY_BYTES, max_size=IDENTITY_BYTES)
# docs/FORMAT.md: where the fields before the key end, and where the stripes' checksums begin.
FIELDS_BYTES, STRIPES_AT = 70, 256


@dataclass(frozen=True)
class Block:
    spec: BlockSpec
    key: bytes
    payload: bytes

    @property
    def file(self) -> bytes:
        return encode_header(self.spec, self.key, self.payload) + self.payload

    def refuses(self, data: bytes) -> Rule:
        """The rule by which a reader of this block refuses the data. Anything but Corrupt fails the test."""
        with pytest.raises(Corrupt) as caught:
            check(self.spec, self.key, data)
        return caught.value.rule


@st.composite
def blocks(draw: st.DrawFn) -> Block:
    payload = draw(st.binary(min_size=1, max_size=2000))
    stripe_bytes = draw(st.one_of(st.integers(1, len(payload) + 1), st.sampled_from([4096, 1 << 22])))
    spec = BlockSpec(draw(IDENTITIES), len(payload), draw(st.integers(1, 16)), stripe_bytes)
    return Block(spec, draw(KEYS), payload)


@given(block=blocks())
def test_what_was_stored_comes_back_whole(block: Block) -> None:
    data = block.file
    assert len(data) == block.spec.file_bytes
    check(block.spec, block.key, data)
    assert data[block.spec.header_bytes :] == block.payload


@given(block=blocks(), at=st.integers(0))
def test_any_flipped_bit_is_refused(block: Block, at: int) -> None:
    data = bytearray(block.file)
    at %= len(data) * 8
    data[at // 8] ^= 1 << at % 8
    block.refuses(bytes(data))


@given(block=blocks(), length=st.integers(0), zeros=st.booleans())
def test_any_cut_is_refused_by_its_length_and_filled_up_with_zeros_too(block: Block, length: int, zeros: bool) -> None:
    data = block.file
    cut = data[: length % len(data)]
    if zeros:  # what a crash of a server can leave: the whole length, without the end's content
        filled = cut.ljust(len(data), b"\0")
        assume(filled != data)
        block.refuses(filled)
    else:
        assert block.refuses(cut) is Rule.LENGTH


@given(block=blocks(), more=st.binary(min_size=1, max_size=100))
def test_any_extension_is_refused(block: Block, more: bytes) -> None:
    assert block.refuses(block.file + more) is Rule.LENGTH


@given(block=blocks(), other=KEYS)
def test_two_swapped_blocks_are_both_refused(block: Block, other: bytes) -> None:
    assume(other != block.key)
    swapped = dataclasses.replace(block, key=other)
    assert block.refuses(swapped.file) is Rule.KEY
    assert swapped.refuses(block.file) is Rule.KEY


@given(block=blocks(), identity=IDENTITIES)
def test_a_block_of_other_weights_is_refused(block: Block, identity: bytes) -> None:
    assume(identity != block.spec.identity)
    foreign = dataclasses.replace(block, spec=dataclasses.replace(block.spec, identity=identity))
    assert block.refuses(foreign.file) is Rule.IDENTITY


@given(block=blocks(), ranks=st.integers(1, 64))
def test_a_block_of_another_number_of_ranks_is_refused(block: Block, ranks: int) -> None:
    assume(ranks != block.spec.ranks)
    foreign = dataclasses.replace(block, spec=dataclasses.replace(block.spec, ranks=ranks))
    assert block.refuses(foreign.file) is Rule.SHAPE


@given(block=blocks(), ours=blocks())
def test_a_file_is_accepted_as_no_other_block(block: Block, ours: Block) -> None:
    assume((block.spec, block.key) != (ours.spec, ours.key))
    ours.refuses(block.file)


@given(block=blocks(), data=st.binary(max_size=9000))
def test_garbage_is_refused(block: Block, data: bytes) -> None:
    block.refuses(data)


@given(block=blocks(), at=st.integers(0), put=st.binary(min_size=1, max_size=64))
def test_other_fields_under_a_right_header_checksum_are_refused(block: Block, at: int, put: bytes) -> None:
    """Not an accident of storage but a writer with a fault: lengths that are not so, offsets beyond the end."""
    data = bytearray(block.file)
    fields = [*range(FIELDS_BYTES + len(block.key)), *range(STRIPES_AT, STRIPES_AT + 8 * block.spec.stripe_count)]
    for place, byte in zip(fields[at % len(fields) :], put, strict=False):
        data[place] = byte
    assume(data != block.file)
    end = block.spec.header_bytes - 8
    data[end : end + 8] = xxhash.xxh3_64_intdigest(bytes(data[:end])).to_bytes(8, "little")
    block.refuses(bytes(data))

# SPDX-License-Identifier: Apache-2.0
"""A user would lose: the certainty that every byte that is served was stored as this block of this model."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmd_storage_connector.blocks.file_check import UNFINISHED_GRACE_S
from llmd_storage_connector.blocks.format import (
    ALIGNMENT,
    DEFAULT_STRIPE_BYTES,
    FORMAT_VERSION,
    MAGIC,
    MAX_KEY_BYTES,
    BlockSpec,
    check,
    encode_header,
)
from llmd_storage_connector.errors import Corrupt, Rule
from llmd_storage_core.strategies import STRATEGIES

GOLDEN = Path(__file__).parent / "golden" / f"block-v{FORMAT_VERSION}.kvb"
IDENTITY = hashlib.sha256(b"a model").digest()
KEY = hashlib.sha256(b"a block").digest() + (3).to_bytes(4, "big")
SPEC = BlockSpec(IDENTITY, payload_bytes=1000, ranks=2, stripe_bytes=256)
PAYLOAD = bytes(index * 7 % 251 for index in range(1000))
FILE = encode_header(SPEC, KEY, PAYLOAD) + PAYLOAD


def refused(data: bytes, spec: BlockSpec = SPEC, key: bytes = KEY) -> Rule:
    with pytest.raises(Corrupt) as caught:
        check(spec, key, data)
    return caught.value.rule


@given(
    payload=st.binary(min_size=1, max_size=3000),
    key=st.binary(min_size=1, max_size=128),
    stripe_bytes=st.integers(1, 4096),
    ranks=st.integers(1, 8),
)
def test_what_was_encoded_is_accepted(payload: bytes, key: bytes, stripe_bytes: int, ranks: int) -> None:
    spec = BlockSpec(IDENTITY, len(payload), ranks, stripe_bytes)
    header = encode_header(spec, key, payload)
    assert len(header) == spec.header_bytes
    assert spec.header_bytes % ALIGNMENT == 0
    check(spec, key, header + payload)


@settings(max_examples=500)
@given(at=st.integers(0, len(FILE) - 1), flip=st.integers(1, 255))
def test_every_changed_byte_is_refused(at: int, flip: int) -> None:
    corrupt = bytearray(FILE)
    corrupt[at] ^= flip
    refused(bytes(corrupt))


def test_every_single_bit_of_what_the_header_uses_is_refused() -> None:
    used = [*range(320), *range(SPEC.header_bytes - 8, SPEC.header_bytes)]
    for at in used:
        for bit in range(8):
            corrupt = bytearray(FILE)
            corrupt[at] ^= 1 << bit
            refused(bytes(corrupt))


@given(length=st.integers(0, len(FILE) - 1))
def test_every_shorter_file_is_refused(length: int) -> None:
    assert refused(FILE[:length]) is Rule.LENGTH


@pytest.mark.parametrize("tail", [b"\0", b"x" * 4096], ids=["one byte", "a page"])
def test_a_longer_file_is_refused(tail: bytes) -> None:
    assert refused(FILE + tail) is Rule.LENGTH


def test_zeros_are_refused() -> None:
    assert refused(bytes(len(FILE))) is Rule.MAGIC
    assert refused(FILE[: SPEC.header_bytes] + bytes(1000)) is Rule.PAYLOAD_CHECKSUM


def test_a_good_file_of_something_else_is_refused() -> None:
    other_block = KEY[:-4] + (4).to_bytes(4, "big")
    other_model = BlockSpec(bytes(32), 1000, 2, 256)
    other_ranks = BlockSpec(IDENTITY, 1000, 1, 256)
    other_stripes = BlockSpec(IDENTITY, 1000, 2, 512)
    assert refused(FILE, key=other_block) is Rule.KEY
    assert refused(FILE, key=KEY[:-1]) is Rule.KEY
    assert refused(FILE, other_model) is Rule.IDENTITY
    assert refused(FILE, other_ranks) is Rule.SHAPE
    assert refused(FILE, other_stripes) is Rule.SHAPE


def test_another_version_is_refused() -> None:
    import xxhash

    later = bytearray(FILE)
    later[8] = FORMAT_VERSION + 1
    end = SPEC.header_bytes - 8
    later[end : end + 8] = xxhash.xxh3_64_intdigest(bytes(later[:end])).to_bytes(8, "little")
    assert refused(bytes(later)) is Rule.VERSION


def test_swapped_stripes_are_refused() -> None:
    start = SPEC.header_bytes
    first, second = FILE[start : start + 256], FILE[start + 256 : start + 512]
    assert refused(FILE[:start] + second + first + FILE[start + 512 :]) is Rule.PAYLOAD_CHECKSUM


def test_golden_file() -> None:
    """Blocks on disk outlive releases: this version's bytes never change, only the version may."""
    assert GOLDEN.read_bytes() == FILE
    assert FILE.startswith(MAGIC)


@pytest.mark.parametrize("size", [0, 129], ids=["empty", "too long"])
def test_keys_the_format_cannot_hold(size: int) -> None:
    with pytest.raises(ValueError, match="1 to 128 bytes"):
        encode_header(SPEC, bytes(size), PAYLOAD)


def test_large_payloads_get_a_longer_header() -> None:
    spec = BlockSpec(IDENTITY, payload_bytes=600, stripe_bytes=1)
    payload = bytes(600)
    assert spec.header_bytes == 2 * ALIGNMENT
    check(spec, KEY, encode_header(spec, KEY, payload) + payload)


def test_the_page_shows_the_golden_file_and_every_rule() -> None:
    page = (Path(__file__).parents[3] / "connector/docs/FORMAT.md").read_text()
    dump = re.findall(r"^([0-9a-f]{8})  ((?:[0-9a-f]{2} ?| )+)$", page, re.MULTILINE)
    assert len(dump) > 5
    for offset, chunk in dump:
        shown = bytes.fromhex(chunk)
        assert FILE[int(offset, 16) :][: len(shown)] == shown
    assert re.findall(r"^\| F\d+ \| `(\w+)` \|", page, re.MULTILINE) == [rule.value for rule in Rule]


def test_the_page_states_the_constants_of_the_code() -> None:
    page = (Path(__file__).parents[3] / "connector/docs/FORMAT.md").read_text()
    assert f"# Block files, format {FORMAT_VERSION}\n" in page
    assert f"default {DEFAULT_STRIPE_BYTES >> 20} MiB" in page
    assert f"multiple of {ALIGNMENT}" in page
    assert f"| 68 | 2 | key length K | 1 to {MAX_KEY_BYTES} |" in page
    assert f"younger than {UNFINISHED_GRACE_S:g} s" in page
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.M)) == set(STRATEGIES)

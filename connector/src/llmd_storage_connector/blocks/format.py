# SPDX-License-Identifier: Apache-2.0
"""The block file: one header, one payload. Bytes in, bytes out (docs/FORMAT.md).

The header says everything needed to refuse the payload: which model and layout it belongs to, which
block it is, how long it is, and what its bytes hash to. A reader that finds any difference treats
the block as absent.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import xxhash

from llmd_storage_connector.errors import Corrupt, Rule

Buffer = bytes | bytearray | memoryview

# Not ASCII at both ends, and with both line endings: a text-mode copy breaks it visibly.
MAGIC = b"\x89KVB\r\n\x1a\n"
FORMAT_VERSION = 1
# The payload starts, and the file ends, on this boundary when chunks are page-multiples: direct I/O works.
ALIGNMENT = 4096
MAX_KEY_BYTES = 128
# Of a foreign header that is read to see whose it is: stripes for terabytes.
MAX_HEADER_BYTES = 1 << 20
IDENTITY_BYTES = 32
# One checksum per stripe, so that a large block can be read by several threads, each with a buffer of a stripe. Smaller
# ones stay in a processor's own cache better, larger ones cost Python less (docs/decisions/0003-transfers.md).
DEFAULT_STRIPE_BYTES = 2 * 1024 * 1024

_FIXED = struct.Struct("<8sHHIQII32sIH")
_STRIPES_AT = 256
_CHECKSUM = struct.Struct("<Q")


class _Fields(NamedTuple):
    """A header's fixed fields, in their order in the file; not believed yet."""

    magic: bytes
    version: int
    flags: int
    header_bytes: int
    payload_bytes: int
    stripe_bytes: int
    stripes: int
    identity: bytes
    ranks: int
    key_bytes: int

    @classmethod
    def of(cls, header: memoryview) -> _Fields:
        return cls(*_FIXED.unpack_from(header))

    @property
    def is_other_version(self) -> bool:
        return self.version != FORMAT_VERSION or self.flags != 0

    @property
    def shape(self) -> tuple[int, ...]:
        return self.header_bytes, self.payload_bytes, self.stripe_bytes, self.stripes, self.ranks

    def key_in(self, header: memoryview) -> bytes:
        return bytes(header[_FIXED.size : _FIXED.size + min(self.key_bytes, MAX_KEY_BYTES)])


@dataclass(frozen=True, slots=True)
class BlockSpec:
    """What is equal for every block of a namespace as one engine sees it.

    payload_bytes: bytes of one block, all ranks. ranks: how many ranks' parts follow each other in it.
    """

    identity: bytes
    payload_bytes: int
    ranks: int = 1
    stripe_bytes: int = DEFAULT_STRIPE_BYTES

    def __post_init__(self) -> None:
        if len(self.identity) != IDENTITY_BYTES:
            raise ValueError(f"identity digest must be {IDENTITY_BYTES} bytes, not {len(self.identity)}")
        if self.payload_bytes <= 0 or self.stripe_bytes <= 0 or self.ranks <= 0:
            raise ValueError("payload_bytes, stripe_bytes and ranks must be positive")

    @property
    def stripe_count(self) -> int:
        return -(-self.payload_bytes // self.stripe_bytes)

    @property
    def header_bytes(self) -> int:
        used = _STRIPES_AT + _CHECKSUM.size * (self.stripe_count + 1)
        return -(-used // ALIGNMENT) * ALIGNMENT

    @property
    def longest_stripe(self) -> int:
        """Bytes of a block's first stripe, the longest there is."""
        return min(self.stripe_bytes, self.payload_bytes)

    @property
    def file_bytes(self) -> int:
        return self.header_bytes + self.payload_bytes


def _shape_of(spec: BlockSpec) -> tuple[int, ...]:
    """What _Fields.shape has to be."""
    return spec.header_bytes, spec.payload_bytes, spec.stripe_bytes, spec.stripe_count, spec.ranks


def checksum(data: Buffer) -> int:
    """What one stripe, or a header up to its own checksum, hashes to. Releases the interpreter lock."""
    return xxhash.xxh3_64_intdigest(data)


def stripe_length(spec: BlockSpec, index: int) -> int:
    """Bytes of a stripe; the last one may be shorter than the others."""
    return min(spec.stripe_bytes, spec.payload_bytes - index * spec.stripe_bytes)


def stripes(spec: BlockSpec) -> Iterator[tuple[int, int]]:
    """(offset in the payload, length) of each stripe, in order; the last one may be shorter."""
    for start in range(0, spec.payload_bytes, spec.stripe_bytes):
        yield start, min(spec.stripe_bytes, spec.payload_bytes - start)


def encode_header(spec: BlockSpec, key: bytes, payload: Buffer) -> bytes:
    """Header of the block `key` with exactly these payload bytes.

    Raises: ValueError when the payload's length or the key's length is not one the format can hold.
    """
    view = memoryview(payload).cast("B")
    if len(view) != spec.payload_bytes:
        raise ValueError(f"payload has {len(view)} bytes, the namespace's blocks have {spec.payload_bytes}")
    return header_of(spec, key, [checksum(view[start : start + length]) for start, length in stripes(spec)])


def header_of(spec: BlockSpec, key: bytes, checksums: Sequence[int]) -> bytes:
    """Header of the block `key` whose stripes have these checksums.

    Requires: one checksum a stripe, in order. Raises: ValueError for a key that the format cannot hold.
    """
    header = bytearray(spec.header_bytes)
    fields = fields_of(spec, key)
    header[: len(fields)] = fields
    struct.pack_into(f"<{spec.stripe_count}Q", header, _STRIPES_AT, *checksums)
    end = spec.header_bytes - _CHECKSUM.size
    _CHECKSUM.pack_into(header, end, checksum(memoryview(header)[:end]))
    return bytes(header)


def fields_of(spec: BlockSpec, key: bytes) -> bytes:
    """What the header of the block `key` begins with: all but the checksums, which a reader knows beforehand.

    Raises: ValueError for a key that the format cannot hold.
    """
    if not 0 < len(key) <= MAX_KEY_BYTES:
        raise ValueError(f"a key has 1 to {MAX_KEY_BYTES} bytes, not {len(key)}")
    fixed = _FIXED.pack(
        MAGIC,
        FORMAT_VERSION,
        0,
        spec.header_bytes,
        spec.payload_bytes,
        spec.stripe_bytes,
        spec.stripe_count,
        spec.identity,
        spec.ranks,
        len(key),
    )
    return fixed + key


def check(spec: BlockSpec, key: bytes, data: Buffer) -> None:
    """Refuse a file's bytes unless they are the block `key` of this namespace, whole and undamaged.

    Requires: `data` is the whole file, as read. Ensures: on return data[spec.header_bytes:] is the
    payload that was stored. Raises: Corrupt with the first broken rule.
    """
    view = memoryview(data).cast("B")
    check_length(spec, len(view))
    payload = view[spec.header_bytes :]
    check_header(
        spec,
        key,
        view[: spec.header_bytes],
        [checksum(payload[start : start + length]) for start, length in stripes(spec)],
    )


def is_of_another_shape(spec: BlockSpec, key: bytes, header: Buffer, file_bytes: int) -> bool:
    """Whether this is the undamaged beginning of our block `key` as an engine with other stripes or ranks wrote it.

    header: at least the file's own header, as read. It is believed when its checksum, where it says itself, is right.
    """
    view = memoryview(header).cast("B")
    if len(view) < _STRIPES_AT:
        return False
    fields = _Fields.of(view)
    end = fields.header_bytes - _CHECKSUM.size
    if fields.magic != MAGIC or not _STRIPES_AT <= end <= len(view) - _CHECKSUM.size:
        return False
    if _CHECKSUM.unpack_from(view, end)[0] != checksum(view[:end]):
        return False
    if fields.header_bytes + fields.payload_bytes != file_bytes:
        return False
    ours = fields.identity == spec.identity and fields.key_bytes == len(key) and fields.key_in(view) == key
    return ours and (fields.is_other_version or fields.shape != _shape_of(spec))


def check_length(spec: BlockSpec, file_bytes: int) -> None:
    """Raises: Corrupt for a file of another length than all blocks of the namespace have."""
    if file_bytes != spec.file_bytes:
        raise Corrupt(Rule.LENGTH, f"{file_bytes} bytes instead of {spec.file_bytes}")


def check_header(spec: BlockSpec, key: bytes, header: Buffer, checksums: Sequence[int]) -> None:
    """Refuse a block whose header is not that of `key`, or whose stripes do not have these checksums.

    Requires: spec.header_bytes bytes; one checksum a stripe, of the bytes as read. Raises: Corrupt.
    """
    view = memoryview(header).cast("B")
    _check_fields(spec, key, view)
    stored = struct.unpack_from(f"<{spec.stripe_count}Q", view, _STRIPES_AT)
    for index, (seen, expected) in enumerate(zip(checksums, stored, strict=True)):
        if seen != expected:
            raise Corrupt(Rule.PAYLOAD_CHECKSUM, f"stripe {index} of {spec.stripe_count}")


def _check_fields(spec: BlockSpec, key: bytes, header: memoryview) -> None:
    fields = _Fields.of(header)
    if fields.magic != MAGIC:
        raise Corrupt(Rule.MAGIC, f"starts with {bytes(header[:8]).hex()}")
    # The header's own checksum comes before its fields are believed; it ends where *we* expect it to.
    end = spec.header_bytes - _CHECKSUM.size
    (stored,) = _CHECKSUM.unpack_from(header, end)
    if checksum(header[:end]) != stored:
        raise Corrupt(Rule.HEADER_CHECKSUM, "the header was damaged, or is of another length")
    if fields.is_other_version:
        raise Corrupt(
            Rule.VERSION, f"format version {fields.version} flags {fields.flags}, this reads {FORMAT_VERSION}"
        )
    if fields.shape != _shape_of(spec):
        raise Corrupt(Rule.SHAPE, f"header/payload/stripe/stripes/ranks {fields.shape}, expected {_shape_of(spec)}")
    if fields.identity != spec.identity:
        raise Corrupt(Rule.IDENTITY, f"belongs to {fields.identity.hex()[:16]}…, not {spec.identity.hex()[:16]}…")
    stored_key = fields.key_in(header)
    if fields.key_bytes != len(key) or stored_key != key:
        raise Corrupt(Rule.KEY, f"holds block {stored_key.hex()[:24]}…, not {key.hex()[:24]}…")

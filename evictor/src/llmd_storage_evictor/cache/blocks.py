# SPDX-License-Identifier: Apache-2.0
"""One block file at a time, for those who look closely: listing, checking, setting aside."""

from __future__ import annotations

import os
import stat
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass

from llmd_storage_connector import format as block_format
from llmd_storage_connector import layout
from llmd_storage_connector.errors import Corrupt, Rule
from llmd_storage_connector.format import BlockSpec
from llmd_storage_evictor.cache import names
from llmd_storage_evictor.cache.directory import READ, CacheDirectory
from llmd_storage_evictor.cache.scanner import age_ns

# What the header says of the block's shape (connector/docs/FORMAT.md); format.check_header checks all of it.
_SHAPE = struct.Struct("<16xQI4x32sI")
# Files younger than this may still be being written, as for the connector.
UNFINISHED_S = 60.0


@dataclass(frozen=True, slots=True)
class Found:
    """A block file. age_s: since its last use."""

    namespace: str
    folder: str
    name: str
    size: int
    age_s: float

    @property
    def key(self) -> str:
        """In hex."""
        return self.name.rpartition(".")[0]


def each(directory: CacheDirectory, namespace: str, folder: str) -> Iterator[Found]:
    """The block files of one folder, sorted by name. Raises: OSError."""
    now = time.time()
    with directory.folder(namespace, folder) as fd:
        for name in sorted(os.listdir(fd)):
            if names.key_of_block(folder, name) is None:
                continue
            try:
                found = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except FileNotFoundError:
                continue
            if stat.S_ISREG(found.st_mode):
                yield Found(namespace, folder, name, found.st_size, max(0.0, now - age_ns(found, folder) / 1e9))


def fault(directory: CacheDirectory, block: Found) -> str:
    """The rule that the file breaks; "" when it is whole, gone, or still being written. Raises: OSError.

    A client may have a file from a stale cache, so one that breaks a rule is read once more.
    """
    first = _read(directory, block)
    return _read(directory, block) if first else ""


def _read(directory: CacheDirectory, block: Found) -> str:
    with directory.folder(block.namespace, block.folder) as folder:
        try:
            fd = os.open(block.name, READ, dir_fd=folder)
        except FileNotFoundError:
            return ""
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            return Rule.NOT_REGULAR.value
        _check(fd, found.st_size, block)
    except Corrupt as error:
        unfinished = time.time() - found.st_mtime < UNFINISHED_S
        return "" if unfinished else error.rule.value
    finally:
        os.close(fd)
    return ""


def _check(fd: int, size: int, block: Found) -> None:
    """Raises: Corrupt."""
    head = os.pread(fd, _SHAPE.size, 0)
    if len(head) < _SHAPE.size:
        raise Corrupt(Rule.LENGTH, f"{size} bytes")
    payload_bytes, stripe_bytes, identity, ranks = _SHAPE.unpack(head)
    if head[: len(block_format.MAGIC)] != block_format.MAGIC:
        raise Corrupt(Rule.MAGIC, f"starts with {head[:8].hex()}")
    if layout.namespace_name(identity) != block.namespace:
        raise Corrupt(Rule.IDENTITY, "belongs to another namespace")
    try:
        spec = BlockSpec(identity, payload_bytes, ranks, stripe_bytes)
    except ValueError as error:
        raise Corrupt(Rule.SHAPE, str(error)) from error
    block_format.check_length(spec, size)  # before memory is taken for what a damaged header asks for
    header = os.pread(fd, spec.header_bytes, 0)
    checksums = [
        block_format.checksum(os.pread(fd, length, spec.header_bytes + start))
        for start, length in block_format.stripes(spec)
    ]
    if len(header) < spec.header_bytes:
        raise Corrupt(Rule.LENGTH, f"{len(header)} bytes of the header")
    block_format.check_header(spec, bytes.fromhex(block.key), header, checksums)


def set_aside(directory: CacheDirectory, block: Found) -> None:
    """Move the file where no engine finds it, and where it can be looked at. Raises: OSError."""
    with (
        directory.folder(block.namespace, block.folder) as folder,
        directory.folder(block.namespace, layout.DAMAGED) as damaged,
    ):
        os.rename(block.name, block.name, src_dir_fd=folder, dst_dir_fd=damaged)

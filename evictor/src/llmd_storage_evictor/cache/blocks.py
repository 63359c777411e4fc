# SPDX-License-Identifier: Apache-2.0
"""One block file at a time, for the command line: list, verify, quarantine."""

from __future__ import annotations

import os
import stat
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass

from llmd_storage_connector.blocks import format as block_format
from llmd_storage_connector.blocks import layout
from llmd_storage_connector.blocks.format import BlockSpec
from llmd_storage_connector.errors import Corrupt, Rule
from llmd_storage_evictor.cache import names
from llmd_storage_evictor.cache.directory import READ, CacheDirectory

# What the header says of the block's shape (connector/docs/FORMAT.md); format.check_header checks all of it.
_SHAPE = struct.Struct("<16xQI4x32sI")
# Younger files may still be being written; the connector waits as long.
WRITE_GRACE_S = 60.0


@dataclass(frozen=True, slots=True)
class BlockFile:
    """A block file. size: bytes. age_s: seconds since its last use."""

    namespace: str
    folder: str
    name: str
    size: int
    age_s: float

    @property
    def key(self) -> str:
        """In hex."""
        return self.name.rpartition(".")[0]


def list_blocks(directory: CacheDirectory, namespace: str, folder: str) -> Iterator[BlockFile]:
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
                yield BlockFile(
                    namespace, folder, name, found.st_size, max(0.0, now - directory.last_used_ns(found, folder) / 1e9)
                )


def broken_rule(directory: CacheDirectory, block: BlockFile) -> str:
    """The format rule that the file breaks; "" when it is good, gone, or still being written. Raises: OSError.

    A client may serve a file from a stale cache, so a broken one is read a second time.
    """
    first = _check_once(directory, block)
    return _check_once(directory, block) if first else ""


def _check_once(directory: CacheDirectory, block: BlockFile) -> str:
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
        may_be_unfinished = time.time() - found.st_mtime < WRITE_GRACE_S
        return "" if may_be_unfinished else error.rule.value
    finally:
        os.close(fd)
    return ""


def _check(fd: int, size: int, block: BlockFile) -> None:
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
    block_format.check_length(spec, size)  # before allocating what a damaged header asks for
    header = os.pread(fd, spec.header_bytes, 0)
    checksums = [
        block_format.checksum(os.pread(fd, length, spec.header_bytes + start))
        for start, length in block_format.stripes(spec)
    ]
    if len(header) < spec.header_bytes:
        raise Corrupt(Rule.LENGTH, f"{len(header)} bytes of the header")
    block_format.check_header(spec, bytes.fromhex(block.key), header, checksums)


def quarantine(directory: CacheDirectory, block: BlockFile) -> None:
    """Move the file to damaged/, where no engine reads it. Raises: OSError."""
    with (
        directory.folder(block.namespace, block.folder) as folder,
        directory.folder(block.namespace, layout.DAMAGED) as damaged,
    ):
        os.rename(block.name, block.name, src_dir_fd=folder, dst_dir_fd=damaged)

# SPDX-License-Identifier: Apache-2.0
"""How the bytes of a block move between its file and its row, and in Python: the reference.

native.py does the same without the interpreter. What both do is one contract, and one set of tests.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from llmd_storage_connector.blocks import layout
from llmd_storage_connector.blocks.buffer import BlockBuffer
from llmd_storage_connector.blocks.file_check import FileStat, may_be_read
from llmd_storage_connector.blocks.files import read_all, write_all
from llmd_storage_connector.blocks.folders import Folder
from llmd_storage_connector.blocks.format import BlockSpec, check_header, checksum, header_of, stripe_length
from llmd_storage_connector.blocks.gate import Gate, LockedGate
from llmd_storage_connector.blocks.mount_probe import Mount
from llmd_storage_connector.errors import Cancelled, Corrupt


class Row(NamedTuple):
    """Memory of one block: where it begins, and who may touch it.

    An address and no object: a thread that hangs in a system call keeps nobody from giving the memory back.
    """

    address: int
    gate: Gate


class Move(NamedTuple):
    """A block on its way: of which namespace, which one, through whose buffer, from or to which row."""

    spec: BlockSpec
    key: bytes
    buffer: BlockBuffer
    row: Row


class BlockRead(NamedTuple):
    """What a read found. failure: why the row has not got the block's bytes; None also for a file that may_be_read
    refuses, of which nothing is read.
    """

    found: FileStat
    failure: OSError | Corrupt | None = None


class Run(NamedTuple):
    """Blocks that a thread moves one after the other, and how far it is.

    blocks: (key, address of its row); folders: of each, kept open by the run. times: of each block whose row has what
    was stored, when it was last changed, in whole seconds, and 1 of each that was published; 0 of the others.
    Thread: one moves, any looks at `times`.
    """

    spec: BlockSpec
    blocks: Sequence[tuple[bytes, int]]
    folders: Sequence[Folder]
    buffer: BlockBuffer
    gate: Gate
    times: ctypes.Array[ctypes.c_int64]


class DataPath(Protocol):
    """Moves the bytes of one block. Thread: any, each with a buffer of its own. Blocks: as long as storage does.

    Rows are touched only inside their gate, or by the kernel while it writes them out.
    """

    name: str

    def new_gate(self) -> Gate:
        """One that this implementation knows, open."""
        ...

    def read(self, move: Move, folder: int, name: str, mount: Mount) -> BlockRead:
        """Open the block's file, look whether it is one, read it into the row, and check header and checksums.

        folder: a descriptor. Ensures: without a failure, of a file that may_be_read, the row has what was stored.
        Raises: OSError when the file cannot be opened; Cancelled when the gate is closed.
        """
        ...

    def read_run(self, run: Run, mount: Mount) -> None:
        """Read the run's blocks one after the other, each as read() does, up to the first that it would not give.

        Requires: as many bytes in each key. Raises nothing: who wants to know what a block lacks calls read().
        """
        ...

    def publish_run(self, run: Run, strategy: str, *, forgets: bool) -> None:
        """Publish the run's blocks one after the other, up to the first that is there already or cannot be written.

        It may do so with none of them: who wants to know why one is not published uses publish.py with write().
        strategy: of strategies.STRATEGIES; forgets: whether what is on storage leaves the page cache. Requires: as many
        bytes in each key. Raises nothing.
        """
        ...

    def read_stripes(self, move: Move, fd: int, indices: range) -> list[int]:
        """Read stripes of an open file into the row; the first one with the header, into the buffer.

        Returns: their checksums, which are not compared. Raises: OSError; Corrupt for a short file; Cancelled.
        """
        ...

    def write(self, move: Move, fd: int) -> None:
        """Write the row as the block into an open, empty file: the first stripe last, with the header.

        Raises: OSError; Cancelled when the gate is closed.
        """
        ...


class PythonPath:
    """The reference; used where there is no native code for the processor."""

    name = "python"

    def new_gate(self) -> Gate:
        """See DataPath."""
        return LockedGate()

    def read(self, move: Move, folder: int, name: str, mount: Mount) -> BlockRead:
        """See DataPath."""
        spec = move.spec
        fd = os.open(name, mount.read_flags, dir_fd=folder)
        try:
            found = os.fstat(fd)
            if not may_be_read(found, spec, mount):
                return BlockRead(found)
            try:
                checksums = self.read_stripes(move, fd, range(spec.stripe_count))
                check_header(spec, move.key, move.buffer.header, checksums)
            except (OSError, Corrupt) as error:
                return BlockRead(found, error)
            return BlockRead(found)
        finally:
            with contextlib.suppress(OSError):
                os.close(fd)

    def read_run(self, run: Run, mount: Mount) -> None:
        """See DataPath."""
        for index, ((key, address), folder) in enumerate(zip(run.blocks, run.folders, strict=True)):
            move = Move(run.spec, key, run.buffer, Row(address, run.gate))
            try:
                read = self.read(move, folder.fd, layout.block_name(key), mount)
            except (OSError, Cancelled):
                return
            if read.failure is not None or not may_be_read(read.found, run.spec, mount):
                return
            run.times[index] = max(1, int(read.found.st_mtime))

    def publish_run(self, run: Run, strategy: str, *, forgets: bool) -> None:
        """See DataPath. None: by itself Python would do nothing else than publish.py."""

    def read_stripes(self, move: Move, fd: int, indices: range) -> list[int]:
        """See DataPath."""
        return [self._read_stripe(move, fd, index) for index in indices]

    def _read_stripe(self, move: Move, fd: int, index: int) -> int:
        spec, _, buffer, row = move
        at, length = index * spec.stripe_bytes, stripe_length(spec, index)
        payload = buffer.stripe[:length]
        if index == 0:
            read_all(fd, buffer.whole[: spec.header_bytes + length], 0)
        else:
            read_all(fd, payload, spec.header_bytes + at)
        if not row.gate.enter():
            raise Cancelled
        try:
            ctypes.memmove(row.address + at, buffer.stripe_address, length)  # without the interpreter lock
        finally:
            row.gate.leave(length)
        return checksum(payload)

    def write(self, move: Move, fd: int) -> None:
        """See DataPath."""
        spec, key, _, row = move
        checksums = [0] * spec.stripe_count
        for index in (*range(1, spec.stripe_count), 0):
            at, length = index * spec.stripe_bytes, stripe_length(spec, index)
            payload = memoryview((ctypes.c_char * length).from_address(row.address + at)).cast("B")
            # Taken while the row surely is the block's. It may be another's by the time the kernel reads it, when the
            # job was cancelled while a write hung: what is written then does not match.
            if not row.gate.enter():
                raise Cancelled
            try:
                checksums[index] = checksum(payload)
            finally:
                row.gate.leave()
            if index > 0:
                write_all(fd, [payload], spec.header_bytes + at)
            else:
                write_all(fd, [memoryview(header_of(spec, key, checksums)), payload], 0)

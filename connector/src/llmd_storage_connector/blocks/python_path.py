# SPDX-License-Identifier: Apache-2.0
"""The data path in Python: the reference, and used where there is no native code for the processor."""

from __future__ import annotations

import contextlib
import ctypes
import os

from llmd_storage_connector.blocks.crew import Crew, PythonCrew
from llmd_storage_connector.blocks.data_path import BlockRead, Move
from llmd_storage_connector.blocks.file_check import may_be_read
from llmd_storage_connector.blocks.files import read_all, write_all, write_past_cache
from llmd_storage_connector.blocks.format import ALIGNMENT, check_header, checksum, header_of, stripe_length
from llmd_storage_connector.blocks.gate import Gate, LockedGate
from llmd_storage_connector.blocks.mount_probe import Mount
from llmd_storage_connector.errors import Cancelled, Corrupt


class PythonPath:
    """See DataPath."""

    name = "python"

    def new_gate(self) -> Gate:
        """See DataPath."""
        return LockedGate()

    def new_crew(self) -> Crew:
        """See DataPath."""
        return PythonCrew()

    def read(self, move: Move, folder: int, name: str, mount: Mount) -> BlockRead:
        """See DataPath."""
        spec = move.spec
        fd = os.open(name, mount.read_flags, dir_fd=folder)
        try:
            found = os.fstat(fd)
            if not may_be_read(found, spec, mount):
                return BlockRead(found)
            try:
                checksums = [self._read_stripe(move, fd, index) for index in range(spec.stripe_count)]
                check_header(spec, move.key, move.buffer.header, checksums)
            except (OSError, Corrupt) as error:
                return BlockRead(found, error)
            return BlockRead(found)
        finally:
            with contextlib.suppress(OSError):
                os.close(fd)

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

    def write(self, move: Move, fd: int, *, past_cache: bool = False) -> None:
        """See DataPath."""
        spec, key, buffer, row = move
        if past_cache and row.address % ALIGNMENT == 0:
            write_past_cache(fd)
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
                buffer.header[:] = header_of(spec, key, checksums)  # which begins on a page
                write_all(fd, [buffer.header, payload], 0)

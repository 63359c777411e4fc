# SPDX-License-Identifier: Apache-2.0
"""One block file that is being read by several threads, each some stripes through its own buffer."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

from llmd_storage_connector.blocks.buffer import BlockBuffer
from llmd_storage_connector.blocks.data_path import DataPath, Move, Row
from llmd_storage_connector.blocks.file_check import FileStat
from llmd_storage_connector.blocks.format import BlockSpec, check_header
from llmd_storage_connector.blocks.result import BlockResult, reason_of, result_of
from llmd_storage_connector.errors import Corrupt


class BlockReader:
    """See the module's head.

    Thread: read() from any thread, each stripe once; check() and close() when all are through.
    """

    def __init__(self, path: DataPath, spec: BlockSpec, key: bytes, fd: int, refresh: bool) -> None:
        self._path = path
        self._spec = spec
        self._key = key
        self._fd = fd
        self._refresh = refresh
        self._header = b""
        self._checksums = [0] * spec.stripe_count

    @classmethod
    def begin(
        cls, path: DataPath, spec: BlockSpec, key: bytes, fd: int, check: Callable[[FileStat], BlockResult]
    ) -> BlockReader | BlockResult:
        """Look at the file; what `check` says of it when it is not to be read, and the file is closed then."""
        try:
            checked = check(os.fstat(fd))
        except OSError as error:
            checked = BlockResult(False, reason_of(error))
        reading = cls(path, spec, key, fd, checked.refresh)
        if checked.ok:
            return reading
        reading.close()
        return checked

    def read(self, stripes: range, buffer: BlockBuffer, row: Row) -> None:
        """Read stripes into the row, not checked yet. Raises: OSError; Corrupt for a short file; Cancelled."""
        move = Move(self._spec, self._key, buffer, row)
        self._checksums[stripes.start : stripes.stop] = self._path.read_stripes(move, self._fd, stripes)
        if stripes.start == 0:
            self._header = bytes(buffer.header)

    def check(self) -> BlockResult:
        """Whether what was read is the block. Requires: every stripe was read."""
        try:
            check_header(self._spec, self._key, self._header, self._checksums)
        except Corrupt as error:
            return result_of(error)
        return BlockResult(True, refresh=self._refresh)

    def close(self) -> None:
        """Required once. Blocks: as long as storage does."""
        with contextlib.suppress(OSError):
            os.close(self._fd)

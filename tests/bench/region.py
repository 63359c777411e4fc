"""Memory that stands for vLLM's CPU tier: rows in /dev/shm, as SharedOffloadRegion makes them."""

from __future__ import annotations

import mmap
import os
import tempfile

import numpy as np

_TILE = 1 << 20


class Region:
    """rows x row_bytes. view: what vLLM hands to a tier. Nothing of it stays when the process ends."""

    def __init__(self, rows: int, row_bytes: int) -> None:
        with tempfile.TemporaryFile(dir="/dev/shm") as file:
            os.ftruncate(file.fileno(), rows * row_bytes)
            self._memory = mmap.mmap(file.fileno(), rows * row_bytes)
        self.rows, self.row_bytes = rows, row_bytes
        self.view = memoryview(self._memory).cast("b", (rows, row_bytes))
        self._array = np.frombuffer(self._memory, dtype=np.int8).reshape(rows, row_bytes)
        self._rng = np.random.default_rng()

    def fill(self, seed: int) -> None:
        """Other bytes in every row, and for every seed."""
        tile = np.random.default_rng(seed).integers(-128, 128, min(_TILE, self.row_bytes), dtype=np.int8)
        for row in range(self.rows):
            for at in range(0, self.row_bytes, len(tile)):
                part = self._array[row, at : at + len(tile)]
                np.bitwise_xor(tile[: len(part)], np.int8((row * 31 + at // len(tile)) % 127), out=part)
            self._array[row, :8] = np.frombuffer(row.to_bytes(8, "little"), dtype=np.int8)

    def clear(self) -> None:
        self._array[:] = 0

    def digests(self) -> list[int]:
        """A checksum of every row."""
        import xxhash

        return [xxhash.xxh3_64_intdigest(self._array[row].data) for row in range(self.rows)]

    def close(self) -> None:
        """Requires: the tier that had the view was shut down."""
        self.view.release()
        del self._array
        self._memory.close()

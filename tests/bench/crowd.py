"""Very many block files, made and removed quickly: empty of bytes (sparse), right in name and length."""

from __future__ import annotations

import os
import secrets
import shutil
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from llmd_storage_connector.blocks import layout

_SPARE_INODES = 100_000


class Crowd:
    """Files beside the blocks of the one namespace under `root`, which has at least one block."""

    def __init__(self, root: Path) -> None:
        self._root = root
        sample = next(path for path in root.rglob(f"*{layout.BLOCK_SUFFIX}") if path.is_file())
        self._namespace = sample.parents[1]
        self._size = sample.stat().st_size

    def fill(self, count: int) -> None:
        """Raises: RuntimeError when the disk has not enough inodes."""
        free = os.statvfs(self._root).f_favail
        if free < count + _SPARE_INODES:
            raise RuntimeError(f"{self._root} has {free} free inodes, {count + _SPARE_INODES} are needed")
        names = list(layout.fanout_names())
        each = -(-count // len(names))
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            for _ in pool.map(_make, [(self._namespace / name, name, each, self._size) for name in names]):
                pass

    def remove(self) -> None:
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            for _ in pool.map(shutil.rmtree, [self._namespace / name for name in layout.fanout_names()]):
                pass
        shutil.rmtree(self._root)


def _make(task: tuple[Path, str, int, int]) -> None:
    folder, start, count, size = task
    at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for _ in range(count):
            key = bytes.fromhex(start) + secrets.token_bytes(31) + bytes(4)
            fd = os.open(layout.block_name(key), os.O_CREAT | os.O_WRONLY, 0o660, dir_fd=at)
            os.ftruncate(fd, size)
            os.close(fd)
    finally:
        os.close(at)

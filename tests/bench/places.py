"""Where is measured: a folder on the local disk, and the same disk behind a delay on every call."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests import faultfs

SLOW_US = 2000
_PIECE_BYTES = 4 << 20


@dataclass(frozen=True)
class Place:
    """behind: the folder on the local disk; seen: the same folder, through the mount that is measured.

    cold: whether the disk itself is to be read. Behind a delay it is not: the file server's memory has the blocks, so
    that the delay is measured and not this machine's disk, twice.
    """

    name: str
    behind: Path
    seen: Path
    cold: bool = True

    def folder(self, name: str) -> Place:
        """A fresh folder in it."""
        shutil.rmtree(self.behind / name, ignore_errors=True)
        (self.behind / name).mkdir(parents=True)
        return Place(self.name, self.behind / name, self.seen / name, self.cold)

    def files(self) -> list[Path]:
        return [path for path in self.behind.rglob("*") if path.is_file()]

    def remove(self) -> None:
        shutil.rmtree(self.behind, ignore_errors=True)


@contextlib.contextmanager
def slow(local: Place) -> Iterator[Place]:
    """Every call that reaches it takes 2 ms more; the kernel keeps neither names nor pages of it."""
    behind, seen = local.behind / "behind", local.behind / "slow"
    behind.mkdir(parents=True, exist_ok=True)
    with faultfs.mounted(behind, seen, delay_us=SLOW_US):
        yield Place(f"{SLOW_US // 1000} ms a call", behind, seen, cold=False)


def set_cache(place: Place, paths: Iterable[Path]) -> None:
    """Files out of the page cache, or into it where the place is not cold. Requires: written back (settle)."""
    for path in paths:
        if not place.cold:
            with path.open("rb", buffering=0) as file:
                while file.read(_PIECE_BYTES):
                    pass
            continue
        fd = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)


def settle() -> None:
    """Nothing is left to be written: one side's writes do not slow down the next one."""
    os.sync()


def forget_names() -> None:
    """Take everything out of the kernel's caches, names of files included: of the whole machine. Requires: root."""
    settle()
    Path("/proc/sys/vm/drop_caches").write_text("3")

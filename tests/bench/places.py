"""Where is measured: a folder on the local disk, and the same disk behind a delay on every call."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests import faultfs

SLOW_US = 2000
# So much that a processor, with all that is copied and checked on the way, can keep up with it easily.
LINK_MIB_S = 800
_DISK_BYTES = 6 << 30
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
def slow(local: Place, link_mib_s: int = 0) -> Iterator[Place]:
    """Every call that reaches it takes 2 ms more; the kernel keeps neither names nor pages of it.

    link_mib_s: what all transfers together get; 0 for what the processors can copy.
    """
    behind, seen = local.behind / "behind", local.behind / "slow"
    behind.mkdir(parents=True, exist_ok=True)
    link = f", {link_mib_s} MiB/s" if link_mib_s else ""
    with faultfs.mounted(behind, seen, delay_us=SLOW_US, bw_mib=link_mib_s):
        yield Place(f"{SLOW_US // 1000} ms a call{link}", behind, seen, cold=False)


@contextlib.contextmanager
def fresh_disk(local: Place) -> Iterator[Place]:
    """An ext4 of its own, with a journal, in a file of the local disk.

    Where a disk's filesystem has no journal, the kernel looks for an inode that was not freed within the last minute, a
    millisecond a file: what a benchmark that removes its files would measure is that search.
    """
    image, seen = local.behind / "disk.img", local.behind / "disk"
    seen.mkdir(parents=True, exist_ok=True)
    with image.open("wb") as file:
        file.truncate(_DISK_BYTES)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", image], check=True)
    options = ["losetup", "--find", "--show", "--direct-io=on", image]
    device = subprocess.run(options, check=True, capture_output=True, text=True).stdout.strip()
    try:
        subprocess.run(["mount", device, seen], check=True)
        try:
            yield Place("local disk", seen, seen)
        finally:
            subprocess.run(["umount", seen], check=True)
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)
        image.unlink()


@contextlib.contextmanager
def in_memory() -> Iterator[Place]:
    """Storage that costs nothing, so that the processor is all."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Place("tmpfs", Path(folder), Path(folder))


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

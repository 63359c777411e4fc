# SPDX-License-Identifier: Apache-2.0
"""What the soak does to the storage below an engine: each fault is begun, lasts, and is ended by well()."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

from tests.engine.process import block_files
from tests.faultfs import CLASSES, FaultFS

Fault = Callable[[FaultFS, random.Random], None]


def well(fs: FaultFS) -> None:
    """Storage is as it should be again, whatever was done to it."""
    fs.set()
    if fs.alive:
        fs.cont()
    else:
        fs.remount()


def _errno(name: str, on: tuple[str, ...]) -> Fault:
    return lambda fs, rng: fs.set(errno=name, on=on)


def _hang(on: tuple[str, ...]) -> Fault:
    return lambda fs, rng: fs.set(hang=on)


def _spoil(change: Callable[[Path, random.Random], None]) -> Fault:
    """Spoil a few blocks, below the mount, at once: other pods may read or write them meanwhile."""

    def spoil(fs: FaultFS, rng: random.Random) -> None:
        files = block_files(fs.source)
        for file in rng.sample(files, min(8, len(files))):
            try:
                change(file, rng)
            except FileNotFoundError:
                continue  # set aside, or replaced, in this moment

    return spoil


def _flip(file: Path, rng: random.Random) -> None:
    with file.open("r+b") as block:
        at = rng.randrange(file.stat().st_size)
        block.seek(at)
        byte = block.read(1)[0]
        block.seek(at)
        block.write(bytes([byte ^ 1 << rng.randrange(8)]))


def _cut(file: Path, rng: random.Random) -> None:
    os.truncate(file, rng.randrange(file.stat().st_size))


def _zero(file: Path, rng: random.Random) -> None:
    with file.open("r+b") as block:
        block.write(bytes(file.stat().st_size))


def _swap(file: Path, rng: random.Random) -> None:
    other = rng.choice(list(file.parent.glob("*.kvb")) + block_files(file.parents[2]))
    spare = file.with_name(".swapped")
    file.rename(spare)
    other.rename(file) if other != file else None
    spare.rename(other)


def _remove(file: Path, rng: random.Random) -> None:
    file.unlink()


FAULTS: dict[str, Fault] = {
    "stop": lambda fs, rng: fs.stop(),
    "kill": lambda fs, rng: fs.kill(),
    "kill and remount": lambda fs, rng: (fs.kill(), fs.remount())[0],
    "hang of lookups": _hang(("meta",)),
    "hang of reads": _hang(("read",)),
    "hang of writes": _hang(("write",)),
    "EIO on reads": _errno("EIO", ("read",)),
    "ESTALE on all": _errno("ESTALE", CLASSES),
    "ENOTCONN on all": _errno("ENOTCONN", CLASSES),
    "ENOSPC": _errno("ENOSPC", ("write",)),
    "EROFS": _errno("EROFS", ("write",)),
    "EACCES": _errno("EACCES", ("write",)),
    "50 ms a call": lambda fs, rng: fs.set(delay_us=50_000),
    "1 MiB/s": lambda fs, rng: fs.set(bw_mib=1),
    "flipped bits": _spoil(_flip),
    "cut files": _spoil(_cut),
    "zeroed files": _spoil(_zero),
    "swapped files": _spoil(_swap),
    "removed files": _spoil(_remove),
}

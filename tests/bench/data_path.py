"""Native code beside its reference in Python, without an engine: speed, processor time, and the interpreter they take.

    PYTHONPATH=core/src:connector/src:. .venv/bin/python -m tests.bench.data_path FOLDER [TOTAL_MIB]

Loads and stores blocks with one and two threads; every figure is the best of five, both sides in turn. What is read was
just written: it comes out of memory (direct I/O is off). What a small block costs is next to all Python's.
"""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import os
import resource
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from llmd_storage_connector.blocks.buffer import BlockBuffer
from llmd_storage_connector.blocks.data_path import DataPath, Row
from llmd_storage_connector.blocks.format import BlockSpec
from llmd_storage_connector.blocks.native import best_path
from llmd_storage_connector.blocks.python_path import PythonPath
from llmd_storage_connector.blocks.result import BlockResult
from llmd_storage_connector.blocks.store import BlockStore

KIB = 1 << 10
SIZES = (64 * KIB, 2048 * KIB, 32768 * KIB)
REPEATS = 5
_BEST = (max, min, max, min, min, min)  # of what measure() gives
PATHS: dict[str, Callable[[], DataPath]] = {"python": PythonPath, "native": best_path}
_STEP = 2000  # rounds of a loop: about as long as what an engine's scheduler does between two looks


class Rows:
    """Memory that stands for an engine's."""

    def __init__(self, count: int, size: int) -> None:
        self._memory = mmap.mmap(-1, count * size)
        self.begin = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        tile = os.urandom(1 << 20)
        while self._memory.tell() < len(self._memory):
            self._memory.write(tile[: len(self._memory) - self._memory.tell()])
        self.size, self.bytes = size, len(self._memory)
        self.keys = [hashlib.sha256(b"%d" % number).digest() + bytes(4) for number in range(count)]


def spread(
    rows: Rows, threads: int, move: Callable[[bytes, BlockBuffer, int], BlockResult]
) -> Iterator[threading.Thread]:
    """Threads that move every row once, each with its buffer; not started."""
    work = iter(enumerate(rows.keys))
    lock = threading.Lock()
    spec = BlockSpec(bytes(32), rows.size)

    def run(buffer: BlockBuffer) -> None:
        while True:
            with lock:
                taken = next(work, None)
            if taken is None:
                return
            result = move(taken[1], buffer, rows.begin + taken[0] * rows.size)
            assert result.ok, result

    for _ in range(threads):
        yield threading.Thread(target=run, args=(BlockBuffer(spec),))


def timed(rows: Rows, workers: list[threading.Thread]) -> tuple[float, float]:
    """GiB/s, and seconds of processor time a GiB."""
    gib = rows.bytes / (1 << 30)
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    took, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    return gib / took, (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / gib


def longest_steps(workers: list[threading.Thread]) -> tuple[float, float]:
    """Milliseconds of a step of pure Python beside the workers: the median, and the longest of a hundred."""
    for worker in workers:
        worker.start()
    steps = []
    while any(worker.is_alive() for worker in workers):
        began = time.perf_counter()
        for _ in range(_STEP):
            pass
        steps.append(1e3 * (time.perf_counter() - began))
    steps.sort()
    return steps[len(steps) // 2], steps[len(steps) * 99 // 100]


def measure(folder: Path, rows: Rows, threads: int, name: str) -> list[float]:
    path = PATHS[name]()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    store = BlockStore(folder, {}, BlockSpec(bytes(32), rows.size), "rename", direct_io="off", path=path)
    store.open()
    gate = path.new_gate()
    stored = timed(rows, list(spread(rows, threads, lambda key, buffer, at: store.put(key, buffer, Row(at, gate)))))

    def load(key: bytes, buffer: BlockBuffer, at: int) -> BlockResult:
        return store.load(key, buffer, Row(at, gate))

    loaded = timed(rows, list(spread(rows, threads, load)))
    steps = longest_steps(list(spread(rows, threads, load)))
    shutil.rmtree(folder)
    return [*stored, *loaded, *steps]


def main() -> None:
    folder = Path(sys.argv[1]) / "llmd-data-path"
    total = int(sys.argv[2]) << 20 if len(sys.argv) > 2 else 256 << 20
    small = Rows(1000, 4 * KIB)
    for name in PATHS:
        moved = [measure(folder, small, 1, name) for _ in range(REPEATS)]
        store, load = (min(one[column] for one in moved) * small.size / (1 << 30) * 1e6 for column in (1, 3))
        print(f"{name}: a block of 4 KiB takes {load:.0f} us of processor time to load, {store:.0f} to store")
    print(
        "| block | threads | code | store GiB/s | s/GiB | load GiB/s | s/GiB | step of Python beside loads, ms | 99th |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for size in SIZES:
        rows = Rows(max(2, total // size), size)
        for threads in (1, 2):
            taken: dict[str, list[list[float]]] = {name: [] for name in PATHS}
            for _ in range(REPEATS):
                for name, found in taken.items():
                    found.append(measure(folder, rows, threads, name))
            for name, found in taken.items():
                best = (pick(column) for pick, column in zip(_BEST, zip(*found, strict=True), strict=True))
                shown = " | ".join(f"{figure:.2f}" for figure in best)
                print(f"| {size // KIB} KiB | {threads} | {name} | {shown} |", flush=True)


if __name__ == "__main__":
    main()

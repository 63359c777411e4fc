"""What a process can do without a tier, and what its own thread notices of one."""

from __future__ import annotations

import ctypes
import mmap
import os
import threading
import time
from typing import TYPE_CHECKING

from tests.bench.rows import percentile

if TYPE_CHECKING:
    from tests.bench.region import Region
    from tests.bench.sides import Driver

# Of a loop of pure Python: a quarter of a millisecond, as long as what a scheduler does between two looks at its tiers.
_ROUNDS = 20_000
_IDLE_S = 0.7


def copy(region: Region, threads: int, *, do_hash: bool) -> float:
    """Seconds in which so many threads copy every row from memory, and hash what they copied if they are to."""
    import xxhash

    size, rows = region.row_bytes, region.view.cast("B")
    with mmap.mmap(-1, region.rows * size) as memory:
        for row in range(region.rows):
            memory[row * size : (row + 1) * size] = rows[row * size : (row + 1) * size]
        source, begin = memoryview(memory), ctypes.addressof(ctypes.c_char.from_buffer(memory))
        target = ctypes.addressof(ctypes.c_char.from_buffer(region.view))

        def work(first: int) -> None:
            for row in range(first, region.rows, threads):
                ctypes.memmove(target + row * size, begin + row * size, size)  # without the interpreter lock
                if do_hash:
                    xxhash.xxh3_64_intdigest(source[row * size : (row + 1) * size])  # so is this

        workers = [threading.Thread(target=work, args=(first,)) for first in range(threads)]
        began = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        took = time.perf_counter() - began
        source.release()
    return took


def steps(driver: Driver, seed: int, requests: int, processor: int) -> dict[str, float]:
    """Steps of this thread, on this processor, while so many requests load all rows; with none, for a while.

    Returns: median and 99th percentile in microseconds, steps, seconds.
    """
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {processor})
    try:
        waiting = driver.submit(seed, load=True, jobs=requests) if requests else set()
        began, taken = time.perf_counter(), list[float]()
        while waiting or (not requests and time.perf_counter() - began < _IDLE_S):
            step = time.perf_counter()
            for _ in range(_ROUNDS):
                pass
            waiting -= driver.finished()
            driver.end_step()
            taken.append(1e6 * (time.perf_counter() - step))
        seconds = time.perf_counter() - began
    finally:
        os.sched_setaffinity(0, before)
    return {
        "p50_us": percentile(taken, 0.5),
        "p99_us": percentile(taken, 0.99),
        "steps": len(taken),
        "seconds": seconds,
    }

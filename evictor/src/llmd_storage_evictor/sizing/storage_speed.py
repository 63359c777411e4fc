# SPDX-License-Identifier: Apache-2.0
"""How fast a storage writes and reads blocks: through the connector's own store, and through fio."""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import secrets
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmd_storage_connector.blocks.buffer import BlockBuffer
from llmd_storage_connector.blocks.data_path import Row
from llmd_storage_connector.blocks.format import BlockSpec
from llmd_storage_connector.blocks.result import BlockResult
from llmd_storage_connector.blocks.store import BlockStore
from llmd_storage_connector.identity.facts import digest_of
from llmd_storage_evictor.errors import Unavailable

_FIO_TIMEOUT_S = 600.0
_SCRATCH_PREFIX = ".bench-"


@dataclass(frozen=True, slots=True)
class SpeedResult:
    """Speed of one kind of access. Latencies are of one block."""

    mib_s: float
    median_ms: float
    p99_ms: float
    note: str = ""


def measure_store(root: str, block_bytes: int, count: int, threads: int) -> dict[str, SpeedResult]:
    """Write, look up and read `count` blocks with the connector's store, in a temporary folder below `root`.

    Raises: OSError, Unavailable; ValueError for sizes that the format cannot hold. The folder is always removed.
    """
    with tempfile.TemporaryDirectory(prefix=_SCRATCH_PREFIX, dir=root) as scratch:
        facts = {"bench": secrets.token_hex(8)}
        spec = BlockSpec(digest_of(facts), block_bytes)
        store = BlockStore(Path(scratch), facts, spec, "auto")
        store.open()
        # Stands for the memory of an engine: what is written, and where all that is read goes to.
        memory = mmap.mmap(-1, block_bytes)
        memory.write(os.urandom(block_bytes))
        row = Row(ctypes.addressof(ctypes.c_char.from_buffer(memory)), store.data_path.new_gate())
        keys = [secrets.token_bytes(36) for _ in range(count)]

        def write(key: bytes, buffer: BlockBuffer) -> BlockResult:
            return store.put(key, buffer, row)

        def read(key: bytes, buffer: BlockBuffer) -> BlockResult:
            return store.load(key, buffer, row)

        return {
            f"{name}": _measure(spec, keys, threads, operation, size)
            for name, operation, size in (
                ("write", write, block_bytes),
                ("lookup", lambda key, buffer: store.contains(key), 0),
                ("read", read, block_bytes),
            )
        }


def _measure(
    spec: BlockSpec,
    keys: Iterable[bytes],
    threads: int,
    operation: Callable[[bytes, BlockBuffer], BlockResult],
    size: int,
) -> SpeedResult:
    buffers = [BlockBuffer(spec) for _ in range(threads)]

    def one(key: bytes) -> float:
        buffer = buffers.pop()  # there are as many buffers as threads
        try:
            began = time.monotonic()
            outcome = operation(key, buffer)
            if not outcome.ok:
                raise Unavailable(f"a block could not be written or read: {outcome.reason}")
            return time.monotonic() - began
        finally:
            buffers.append(buffer)

    began = time.monotonic()
    with ThreadPoolExecutor(threads) as pool:
        times = sorted(pool.map(one, keys))
    spent = max(time.monotonic() - began, 1e-9)
    return SpeedResult(
        size * len(times) / spent / 2**20,
        statistics.median(times) * 1000,
        times[min(len(times) - 1, len(times) * 99 // 100)] * 1000,
    )


def measure_fio(root: str, block_bytes: int, count: int, threads: int) -> dict[str, SpeedResult]:
    """The same amounts with fio: a file of `count` blocks shared among the threads. Direct I/O where it works."""
    results = {}
    with tempfile.TemporaryDirectory(prefix=_SCRATCH_PREFIX, dir=root) as scratch:
        for kind in ("write", "read"):
            for direct in (1, 0):
                found = _run_fio(scratch, kind, block_bytes=block_bytes, count=count, threads=threads, direct=direct)
                if found is not None:
                    results[f"fio {kind}"] = found
                    break
    return results


def _run_fio(folder: str, kind: str, *, block_bytes: int, count: int, threads: int, direct: int) -> SpeedResult | None:
    """None: this kind of access does not work here."""
    program = shutil.which("fio")
    if program is None:
        return None
    jobs = min(threads, count)
    command = [
        program, "--name=kv", f"--directory={folder}", f"--rw={kind}", f"--bs={block_bytes}", f"--numjobs={jobs}",
        f"--size={block_bytes * max(1, count // jobs)}", f"--direct={direct}", "--ioengine=psync", "--group_reporting",
        "--output-format=json", "--end_fsync=1", "--fallocate=none",
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, timeout=_FIO_TIMEOUT_S, check=False)
        found: dict[str, Any] = json.loads(done.stdout)["jobs"][0][kind]
        times = found["clat_ns"]["percentile"]
        mib_s = found["bw_bytes"] / 2**20
    except (OSError, ValueError, KeyError, IndexError, subprocess.TimeoutExpired):
        return None
    if done.returncode or mib_s <= 0:
        return None
    note = "direct" if direct else "through the page cache"
    return SpeedResult(mib_s, times["50.000000"] / 1e6, times["99.000000"] / 1e6, note)

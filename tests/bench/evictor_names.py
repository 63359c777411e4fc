# SPDX-License-Identifier: Apache-2.0
"""Ten million files without a filesystem: the evictor's memory, and the metadata operations that it asks for.

    .venv/bin/python -m tests.bench.evictor_names --files 10000000 --folder /tmp/names

Names and sizes are invented where the scanner makes its system calls, and time is what the script says. Only the
checkpoint is a real file, 24 bytes a name, in the folder, which is removed at the end. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from llmd_storage_connector.blocks import layout
from llmd_storage_evictor.cache import checkpoint, listing
from llmd_storage_evictor.cache.directory import CacheDirectory
from llmd_storage_evictor.cache.scanner import Scanner
from llmd_storage_evictor.config import parse
from llmd_storage_evictor.controller.eviction import BATCH_FILES
from llmd_storage_evictor.core.index import Index

BLOCK = 16 << 20
NAMESPACES = 4
DEFAULTS = parse({"root_dir": "/cache", "budget_bytes": 1})


class InventedSystem:
    """The calls of cache/listing.py. A descriptor is the number of a folder; changed: mtime of all folders, in ns."""

    def __init__(self, files: int) -> None:
        self.folders = [(space, name) for space in range(NAMESPACES) for name in layout.fanout_names()]
        self._files = files // len(self.folders)
        self.changed = 0
        self.calls = 0.0

    def listdir(self, fd: int) -> list[str]:
        self.calls += self._files / 100
        _, folder = self.folders[fd]
        return [f"{folder}{fd:06x}{number:056x}00000000.kvb" for number in range(self._files)]

    def fstat(self, fd: int) -> Any:
        self.calls += 2
        return SimpleNamespace(st_mtime_ns=self.changed)

    def stat(self, name: str, *, dir_fd: int, follow_symlinks: bool) -> Any:
        self.calls += 1
        if dir_fd < 0:  # a folder of a namespace
            if name == layout.DAMAGED:
                raise FileNotFoundError
            return SimpleNamespace(st_mode=stat.S_IFDIR, st_mtime_ns=self.changed)
        return SimpleNamespace(st_mode=stat.S_IFREG, st_mtime_ns=10**18 + int(name[8:64], 16), st_size=BLOCK)


class InventedDirectory(CacheDirectory):
    """Never opened: it has only folders, whose descriptors mean something to the invented system alone."""

    def __init__(self, system: InventedSystem) -> None:
        super().__init__("/cache")
        self._places = {(f"{space:032x}", name): fd for fd, (space, name) in enumerate(system.folders)}

    def namespaces(self) -> list[str]:
        return sorted({namespace for namespace, _ in self._places})

    @contextlib.contextmanager
    def folder(self, *parts: str) -> Iterator[int]:
        yield self._places[parts[0], parts[1]] if len(parts) == 2 else -1


def rss_mib(which: str = "VmRSS") -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(which))


def measure(files: int, folder: Path, minutes: int) -> dict[str, float]:
    system, now = InventedSystem(files), [0.0]
    listing.os = system  # type: ignore[attr-defined, assignment]
    directory, index = InventedDirectory(system), Index()
    result = {"empty_mib": rss_mib()}
    with ThreadPoolExecutor(DEFAULTS.io_threads) as pool:
        scanner = Scanner(
            directory, index, pool, relist_s=DEFAULTS.relist_s, rescan_s=DEFAULTS.rescan_s,
            ops_s=DEFAULTS.metadata_ops_s, clock=lambda: now[0], wall_clock=lambda: 2e9,
        )  # type: ignore[arg-type]  # fmt: skip
        began = time.process_time()
        scanner.scan()
        result |= {"files": index.held_files(), "first_scan_cpu_s": time.process_time() - began}
        result["first_scan_mib"] = rss_mib()
        for kind in ("idle", "busy"):
            calls, cpu, until = system.calls, time.process_time(), now[0] + 60 * minutes
            sweeps = 0
            while now[0] < until:
                now[0] += max(DEFAULTS.poll_s, scanner.plan.wait_s())
                if kind == "busy":
                    system.changed += 10**9  # files have come and gone in every folder
                sweeps += scanner.scan().whole
            seconds = 60 * minutes
            result[f"{kind}_ops_s"] = (system.calls - calls) / seconds
            result[f"{kind}_cores"] = (time.process_time() - cpu) / seconds
            result[f"{kind}_whole_sweeps"] = sweeps
        result["scans_peak_mib"] = rss_mib("VmHWM")
        real = CacheDirectory(folder)
        real.open()
        checkpoint.save(real, index)
        began = time.process_time()
        index.candidates(index.namespaces(), BATCH_FILES)
        result |= {"candidates_cpu_s": time.process_time() - began, "peak_mib": rss_mib("VmHWM")}
    return {name: round(value, 3) for name, value in result.items()}


def successor(folder: Path) -> dict[str, float]:
    """The next leader, in a process of its own."""
    real, began = CacheDirectory(folder), time.process_time()
    real.open()
    index = checkpoint.load(real)
    result = {"files": index.held_files(), "cpu_s": time.process_time() - began, "loaded_mib": rss_mib()}
    index.candidates(index.namespaces(), BATCH_FILES)
    return {name: round(value, 3) for name, value in {**result, "peak_mib": rss_mib("VmHWM")}.items()}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--files", type=int, default=10_000_000)
    arguments.add_argument("--minutes", type=int, default=10, help="of the script's own time, idle and then busy")
    arguments.add_argument("--folder", type=Path, required=True, help="is made, and removed at the end")
    arguments.add_argument("--successor", action="store_true", help=argparse.SUPPRESS)
    asked = arguments.parse_args()
    if asked.successor:
        print(json.dumps(successor(asked.folder)))
        return
    asked.folder.mkdir(parents=True)
    try:
        result = measure(asked.files, asked.folder, asked.minutes)
        command = [sys.executable, "-m", "tests.bench.evictor_names", "--successor", "--folder", str(asked.folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        print(json.dumps({"leader": result, "successor": json.loads(done.stdout)}, indent=2))
    finally:
        shutil.rmtree(asked.folder)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""How the evictor does with very many files: seconds, memory, and what it costs when nothing happens.

    .venv/bin/python -m tests.bench.evictor_scale --files 1000000 --folder /tmp/scale

Makes that many sparse block files (16 MiB each, in four namespaces), runs the evictor's own parts on them in a process
of their own, prints one JSON object, and removes everything again.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from llmd_storage_connector.blocks import layout
from llmd_storage_evictor.cache import checkpoint, names
from llmd_storage_evictor.cache.directory import CacheDirectory
from llmd_storage_evictor.config import parse
from llmd_storage_evictor.controller.context import Context
from llmd_storage_evictor.controller.controller import Controller
from llmd_storage_evictor.controller.liveness import Liveness
from llmd_storage_evictor.controller.metrics import Metrics
from llmd_storage_evictor.controller.troubles import Troubles

BLOCK = 16 << 20
NAMESPACES = 4
IDLE_ROUNDS = 6


def make(root: Path, count: int) -> float:
    began = time.monotonic()
    now = time.time_ns()
    for space in range(NAMESPACES):
        for folder in names.BLOCK_FOLDERS:
            (root / f"{space:032x}" / folder).mkdir(parents=True)
    for number in range(count):
        key = number.to_bytes(4, "little") + bytes(28) + bytes(4)
        path = f"{root}/{number % NAMESPACES:032x}/{layout.block_folder(key)}/{layout.block_name(key)}"
        fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o660)
        os.ftruncate(fd, BLOCK)
        stamp = now - (count - number) * 10**9
        os.utime(fd, ns=(stamp, stamp))
        os.close(fd)
    return time.monotonic() - began


def rss_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(root: Path, count: int) -> dict[str, float]:
    """In a process of its own, so that the memory is the evictor's."""
    settings = {"free_floor_bytes": 0, "probe_dir": "", "grace_s": 0, "metadata_ops_s": 1e9}
    config = parse({"root_dir": str(root), "budget_bytes": count * BLOCK} | settings)
    directory = CacheDirectory(root)
    directory.open()
    result: dict[str, float] = {}
    with ThreadPoolExecutor(config.io_threads) as pool:
        context = Context(directory, pool, lambda: True, Metrics(), Liveness(60), Troubles())
        shut = parse({**_settings(config), "budget_bytes": count * BLOCK * 2})
        controller = Controller(shut, context)
        controller.open()
        result["full_scan_s"], result["full_scan_cpu_s"] = timed(controller.reconcile)
        result["rss_after_scan_mib"] = rss_mib()
        result["checkpoint_s"], _ = timed(lambda: checkpoint.save(directory, controller.index))
        idle = [timed(controller.reconcile) for _ in range(IDLE_ROUNDS)]
        result["idle_round_s"] = sum(one for one, _ in idle) / IDLE_ROUNDS
        result["idle_cpu_share_at_poll_10s"] = sum(cpu for _, cpu in idle) / IDLE_ROUNDS / shut.poll_s
        for namespace in controller.index.namespaces():
            for folder in controller.index.folders(namespace).values():
                folder.changed_ns = 0  # as if a file had come or gone in every one
        result["relist_all_s"], result["relist_all_cpu_s"] = timed(controller.reconcile)
        successor = Controller(config, context)
        result["checkpoint_load_s"], _ = timed(successor.open)
        before = sum(held.files for held in successor.index.usage().values())
        result["evict_s"], result["evict_cpu_s"] = timed(lambda: drain(successor))
        left = sum(held.files for held in successor.index.usage().values())
        result["evicted_files"] = before - left
        result["evict_files_per_s"] = (before - left) / result["evict_s"]
        result["rss_peak_mib"] = rss_mib()
    return {name: round(value, 3) for name, value in result.items()}


def _settings(config: object) -> dict[str, object]:
    return {"root_dir": config.root_dir, "free_floor_bytes": 0, "probe_dir": "", "grace_s": 0, "metadata_ops_s": 1e9}


def drain(controller: Controller) -> None:
    while controller.reconcile() == 0.0:
        pass


def timed(call: object) -> tuple[float, float]:
    began, cpu = time.monotonic(), time.process_time()
    call()
    return time.monotonic() - began, time.process_time() - cpu


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--files", type=int, default=1_000_000)
    arguments.add_argument("--folder", type=Path, required=True, help="is made, and removed at the end")
    arguments.add_argument("--keep", action="store_true", help="do not remove it, and use it again if it is there")
    arguments.add_argument("--measure-only", action="store_true", help=argparse.SUPPRESS)
    asked = arguments.parse_args()
    if asked.measure_only:
        print(json.dumps(measure(asked.folder, asked.files)))
        return
    there = asked.keep and asked.folder.exists()
    asked.folder.mkdir(parents=True, exist_ok=asked.keep)
    try:
        made_s = 0.0 if there else make(asked.folder, asked.files)
        command = [sys.executable, "-m", "tests.bench.evictor_scale", "--measure-only"]
        command += ["--files", str(asked.files), "--folder", str(asked.folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        print(json.dumps({"files": asked.files, "made_s": round(made_s, 1)} | json.loads(done.stdout), indent=2))
    finally:
        if not asked.keep:
            shutil.rmtree(asked.folder, ignore_errors=True)


if __name__ == "__main__":
    main()

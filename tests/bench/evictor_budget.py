# SPDX-License-Identifier: Apache-2.0
"""How well the budget is held while engines write: the most that was held, and what was written and left out.

    .venv/bin/python -m tests.bench.evictor_budget --folder /tmp/budget --mib-s 10 40 100

A real evictor process and the connector's own transfer engines, two of them, each offering blocks at half the rate
until five budgets were offered. The whole directory is measured all the while. Prints one JSON object a rate, and
removes everything again. `--no-limits`: engines report what they write, and write more than they may.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from llmd_storage_connector.blocks.format import BlockSpec
from llmd_storage_connector.blocks.store import BlockStore
from llmd_storage_connector.config import parse
from llmd_storage_connector.engine.engine import StorageEngine
from llmd_storage_connector.identity.facts import digest_of
from llmd_storage_connector.telemetry.metrics import Counters
from llmd_storage_connector.transfer.scheduler import Phase

MIB = 1 << 20


class Rows:
    """Rows that all hold the same bytes."""

    def __init__(self, size: int) -> None:
        self._bytes = memoryview(bytearray(os.urandom(size)))

    def view(self, row: int, offset: int, length: int) -> memoryview:
        return self._bytes[offset : offset + length]

    def write(self, chunk: int, offset: int, source: memoryview) -> None:
        """Nothing is loaded here."""


class Writer:
    """One engine, as vLLM would feed it."""

    def __init__(self, root: Path, block_bytes: int, queue_bytes: int, limited: bool = True) -> None:
        facts = {"bench": "budget"}
        spec = BlockSpec(digest_of(facts), block_bytes)
        settings = {"root_dir": str(root), "cpu_bytes_to_use": 2 * queue_bytes}
        self._counters, self._jobs = Counters(), 0
        self.counts: dict[str, int] = {}
        self._block_bytes = block_bytes
        self.engine = StorageEngine(
            BlockStore(root, facts, spec, "auto"), Rows(block_bytes), parse(settings), self._counters
        )
        if not limited:
            self.engine.parts.budget.reserve = lambda size: True  # type: ignore[method-assign]
        self.engine.start()
        assert self.engine.wait_open(30) is Phase.READY

    def offer(self, blocks: int) -> None:
        self._jobs += 1
        keys = [secrets.token_bytes(36) for _ in range(blocks)]
        self.engine.submit_store(self._jobs, "r", keys, list(range(blocks)))

    def count(self) -> dict[str, int]:
        """What became of what was offered, in blocks."""
        self.engine.finished()
        for (name, detail), amount in self._counters.take().items():
            label = f"{name}:{detail}" if detail else name
            self.counts[label] = self.counts.get(label, 0) + amount
        return self.counts


class Watch(threading.Thread):
    """The most that the directory held, all of it counted."""

    def __init__(self, root: Path) -> None:
        super().__init__(daemon=True)
        self._root, self._ended = root, threading.Event()
        self.most = self.looks = 0

    def run(self) -> None:
        while not self._ended.wait(0.02):
            self.most, self.looks = max(self.most, size_of(self._root)), self.looks + 1

    def end(self) -> None:
        self._ended.set()
        self.join()


def size_of(folder: Path | str) -> int:
    """Bytes of all files below, unfinished ones included."""
    total = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    if entry.is_dir(follow_symlinks=False):
                        total += size_of(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
                except FileNotFoundError:
                    continue
    except FileNotFoundError:
        pass
    return total


def evictor(root: Path, settings: dict[str, Any], log: Path) -> subprocess.Popen[bytes]:
    config = log.with_suffix(".json")
    config.write_text(json.dumps({"root_dir": str(root), "leader_election": False, "http_port": 0} | settings))
    command = [sys.executable, "-m", "llmd_storage_evictor", "run", "--config", str(config)]
    with log.open("wb") as out:
        return subprocess.Popen(command, stdout=out, stderr=out)


def measure(folder: Path, budget: int, block_bytes: int, mib_s: float, limited: bool) -> dict[str, Any]:
    root = folder / "blocks"
    root.mkdir(parents=True)
    settings = {"budget_bytes": budget, "free_floor_bytes": 0, "probe_dir": ""}
    process = evictor(root, settings, folder / "log")
    watch = Watch(root)
    try:
        deadline = time.monotonic() + 30
        while not (root / ".evictor" / "room.json").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        writers = [Writer(root, block_bytes, budget // 4, limited) for _ in range(2)]
        watch.start()
        began, offered = time.monotonic(), 0
        while offered * block_bytes < 5 * budget:
            time.sleep(0.01)
            due = int((time.monotonic() - began) * mib_s * MIB / block_bytes) - offered
            for writer in writers:
                if due >= 2:
                    writer.offer(due // 2)
                    offered += due // 2
                writer.count()
        time.sleep(1.0)
        spent = time.monotonic() - began
        counts: dict[str, int] = {}
        for writer in writers:
            for name, amount in writer.count().items():
                counts[name] = counts.get(name, 0) + amount
            writer.engine.close(2.0)
    finally:
        watch.end()
        process.terminate()
        process.wait(30)
    return {
        "offered_mib_s": mib_s,
        "limits": limited,
        "most_held": round(watch.most / budget, 4),
        "looks": watch.looks,
        "offered_mib": offered * block_bytes // MIB,
        "stored_mib": counts.get("stored_bytes", 0) // MIB,
        "stored_mib_s": round(counts.get("stored_bytes", 0) / MIB / spent, 1),
        "left_out": {name: count for name, count in counts.items() if name.startswith("store_") and ":" in name},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--budget-mib", type=int, default=300)
    parser.add_argument("--block-kib", type=int, default=1024)
    parser.add_argument("--mib-s", type=float, nargs="+", default=[10, 20, 40, 100])
    parser.add_argument("--no-limits", action="store_true")
    given = parser.parse_args()
    for mib_s in given.mib_s:
        try:
            found = measure(given.folder, given.budget_mib * MIB, given.block_kib * 1024, mib_s, not given.no_limits)
            print(json.dumps(found), flush=True)
        finally:
            shutil.rmtree(given.folder, ignore_errors=True)


if __name__ == "__main__":
    main()

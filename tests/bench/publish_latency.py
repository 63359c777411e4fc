"""How long another client's first lookup of a freshly published block takes, for every way to publish.

    python -m tests.bench.publish_latency MOUNT_A MOUNT_B [--files 1000]

MOUNT_A and MOUNT_B are two mounts of one filesystem by two clients (two mounts of the kernel's own client share a
cache, and show nothing; two ceph-fuse processes do not). Prints one row a case, and JSON with --json FILE.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from llmd_storage_connector.blocks.mounts import filesystem_of
from llmd_storage_connector.blocks.publish import choose
from llmd_storage_core.publish import publish, whole
from llmd_storage_core.strategies import AUTO, STRATEGIES

BLOCK = 720 * 1024  # a block of 32 tokens of the lab's model
ROW_LIMIT_S = 60.0  # a row whose lookups took this long in all has shown enough


@dataclass(frozen=True)
class Row:
    strategy: str
    looked_before: bool  # whether B had looked the name up in vain before A published it
    files: int
    publish_p50_ms: float
    lookup_p50_ms: float
    lookup_p99_ms: float
    lookup_max_ms: float
    over_1_s: int


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def way_for(mount: Path) -> str:
    """What the connector would choose there by itself."""
    return choose(AUTO, filesystem_of(os.path.realpath(mount)), str(mount), BLOCK)


def row(a: Path, b: Path, strategy: str, files: int, looked_before: bool) -> Row:
    folder = f"publish-{secrets.token_hex(4)}"
    (a / folder).mkdir()
    os.listdir(b / folder)
    data = os.urandom(BLOCK)
    published, lookups = [], []
    try:
        for i in range(files):
            seen = b / folder / f"block-{i}"
            if looked_before:
                with contextlib.suppress(FileNotFoundError):
                    os.stat(seen)
            published.append(timed(lambda i=i: publish(strategy, str(a / folder), f"block-{i}", whole([data]))))
            lookups.append(timed(lambda seen=seen: os.stat(seen)))
            if seen.read_bytes() != data:
                raise SystemExit(f"{strategy}: {seen} reads back as something else")
            if sum(lookups) > ROW_LIMIT_S:
                break
    finally:
        shutil.rmtree(a / folder)
    lookups.sort()
    p99 = lookups[min(len(lookups) - 1, int(len(lookups) * 0.99))]
    figures = (statistics.median(published), statistics.median(lookups), p99, lookups[-1])
    return Row(
        strategy,
        looked_before,
        len(lookups),
        *(round(f * 1e3, 1) for f in figures),
        sum(x > 1 for x in lookups),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mounts", nargs=2, type=Path, metavar="MOUNT")
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    a, b = args.mounts
    rows = []
    print("strategy       looked before  files  publish p50  lookup p50  lookup p99  lookup max  over 1 s   (ms)")
    for strategy in STRATEGIES:
        for looked_before in (False, True):
            r = row(a, b, strategy, args.files, looked_before)
            rows.append(asdict(r))
            print(
                f"{r.strategy:14} {'yes' if r.looked_before else 'no':13} {r.files:6} {r.publish_p50_ms:12.1f}"
                f" {r.lookup_p50_ms:11.1f} {r.lookup_p99_ms:11.1f} {r.lookup_max_ms:11.1f} {r.over_1_s:9}",
                flush=True,
            )
    if args.json:
        args.json.write_text(json.dumps({"block_bytes": BLOCK, "rows": rows}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""How fast the connector is, beside vLLM's stock file tier and fio, in one run.

    make bench                                                    # all rows
    PYTHONPATH=core/src:connector/src:. PYTHON -m tests.bench --only loads stores --quick

Prints a table, and writes build/bench.json and build/bench-raw.json; tests.bench.plots makes a page of one run or
more, as docs/benchmarks. PYTHON is the engine environment's (a real vLLM). Needs fio, root and FUSE.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

from tests.bench import beside, loads, lookups, price, report, serving, stores
from tests.bench.bench import Bench
from tests.bench.places import Place

BUILD = Path(__file__).resolve().parents[2] / "build"
CASES: dict[str, Callable[[Bench], None]] = {
    "loads": loads.run,
    "stores": stores.run,
    "lookups": lookups.run,
    "newcomer": lookups.newcomer,
    "memory": price.memory,
    "memory-speed": beside.memory_speed,
    "interpreter": beside.interpreter,
    "steps": beside.steps,
    "publishing": price.publishing,
    "slow-storage": serving.slow_storage,
    "tokens": serving.tokens,
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=CASES, metavar="NAME", help=f"of: {', '.join(CASES)}")
    parser.add_argument(
        "--quick", action="store_true", help="few repeats, small crowds: minutes, and no verdict to trust"
    )
    parser.add_argument(
        "--dir", type=Path, help="a folder on the local disk to work in (default: a temporary one in build/)"
    )
    parser.add_argument(
        "--mounts", nargs=2, type=Path, default=(), metavar="MOUNT", help="one filesystem, by two clients"
    )
    return parser.parse_args()


def missing() -> str:
    """Why this machine cannot run it, or ""."""
    from tests.faultfs.build import missing as faultfs_lacks

    if not shutil.which("fio"):
        return "needs fio (Debian: fio)"
    lacks = faultfs_lacks()
    return f"the slow storage {lacks}" if lacks else ""


def main() -> int:
    options = arguments()
    if lacks := missing():
        print(f"bench: {lacks}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # mounts and files are taken away on this way out, too
    about = report.machine() | {"quick": options.quick}
    failures: dict[str, str] = {}
    above = options.dir or BUILD
    above.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=above) as folder:
        work = Path(folder).resolve()
        bench = Bench(Place("local disk", work, work), options.quick, options.mounts)
        try:
            for name in options.only or CASES:
                bench.say(f"--- {name} (load average {os.getloadavg()[0]:.1f})")
                try:
                    CASES[name](bench)
                except Exception as error:
                    traceback.print_exc()
                    failures[name] = f"{type(error).__name__}: {error}"
                # After every case: what was measured survives what comes after it.
                report.write_json(bench.rows, bench.raw, failures, about, BUILD)
        finally:
            bench.end()
    rows = [row.as_json() for row in bench.rows]
    print(report.table(rows))
    print(f"{report.summary(rows)}; {BUILD / 'bench.json'}")
    for name, why in failures.items():
        print(f"NOT measured: {name}: {why}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

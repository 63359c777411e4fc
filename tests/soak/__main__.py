# SPDX-License-Identifier: Apache-2.0
"""python -m tests.soak [--minutes 30] [--seed N] [--engines 2]

Engines share one directory, each through a mount of its own; faults come and go at random, and in their midst adapters
are replaced in place, caches reset and weights reloaded; every answer is compared with that of an engine without a
cache. Exits 1 if an answer differed or was late, or an engine ended. What was seen goes to build/soak.json, with the
seed that makes the same faults again.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path

from tests.soak.run import Soak

REPORT = Path(__file__).resolve().parents[2] / "build" / "soak.json"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__.splitlines()[2])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--engines", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="llmd-soak-") as scratch:
        soak = Soak(Path(scratch), seed=args.seed, engines=args.engines, seconds=args.minutes * 60)
        report = soak.run(lambda line: print(line, flush=True))
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(report.as_json(), indent=2) + "\n")
    print(report.line())
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())

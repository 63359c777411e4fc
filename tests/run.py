"""The gate: the layers of the tests, fastest first; its last lines say what failed and why.

    python -m tests.run                 all layers
    python -m tests.run unit chart      only these
    python -m tests.run cluster -- -k upgrade      what follows `--` goes to pytest

A layer that fails does not stop the next one: one run says everything that is wrong. A run of all layers is written to
build/test/summary.json, for programs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests import results
from tests.acceptance import record
from tests.faultfs import mounts
from tests.lab.cluster import target
from tests.lab.paths import engine_python
from tests.results import Counts, Failure, Outcome
from tests.with_lab import end_killed, lab_up

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "build" / "test"
VENV = ROOT / ".venv" / "bin"
# Where other processes are waited for, more workers than cores.
UNIT_WORKERS, PROCESS_WORKERS, CHART_WORKERS = 3, 4, 2


def call(argv: list[str], env: dict[str, str] | None = None) -> bool:
    print(f"$ {' '.join(argv)}", flush=True)
    return subprocess.run(argv, cwd=ROOT, env={**os.environ, **(env or {})}, check=False).returncode == 0


def lab(*words: str) -> bool:
    return call([str(VENV / "python"), "-m", "tests.lab", *words])


class Step:
    """What a layer came to so far."""

    def __init__(self) -> None:
        self.counts, self.failures = Counts(), list[Failure]()

    def did(self, what: str, well: bool) -> bool:
        self.counts += Counts(passed=int(well), failed=int(not well))
        if not well:
            self.failures.append(Failure(f"{what} failed; see above"))
        return well

    def needs(self, part: str) -> bool:
        """What only fails is counted: a build that went well is no test."""
        return lab("build", part) or self.did(f"the build of {part}", False)

    def pytest(
        self, layer: str, *words: str, python: Path = VENV / "python", env: dict[str, str] | None = None
    ) -> None:
        report = report_of(layer)
        where = (f"--junitxml={report}", f"tests/{layer}")
        ended_well = call([str(python), "-m", "pytest", "-q", "--tb=short", *where, *words], env)
        counts, failures, _ = results.read(report, ended_well)
        self.counts += counts
        self.failures += failures


def report_of(layer: str) -> Path:
    return OUT / f"{layer}.xml"


def lint(step: Step, _: list[str]) -> None:
    sources = [
        "core",
        "hooks",
        "connector",
        "evictor",
        "image",
        "release",
        "tests",
        "charts/tools",
        "docs/site",
        "charts/llm-d-storage/files",
    ]
    typed = [
        "core/src",
        "hooks/src",
        "connector/src",
        "evictor/src",
        "image",
        "release",
        "tests/acceptance/__main__.py",
        "tests/acceptance/dashboards.py",
        "tests/acceptance/parts.py",
        "tests/acceptance/record.py",
        "tests/lab",
        "tests/demo",
        "tests/cluster_bench",
        "tests/patience.py",
        "tests/results.py",
        "tests/run.py",
        "tests/with_lab.py",
        "charts/tools",
        "docs/site",
    ]
    step.did("ruff format", call([str(VENV / "ruff"), "format", "--check", "-q", *sources]))
    step.did("ruff check", call([str(VENV / "ruff"), "check", "-q", *sources]))
    step.did("mypy", call([str(VENV / "mypy"), *typed]))
    step.did("lint-imports", call([str(VENV / "lint-imports"), "--no-cache"]))


def spread(workers: int) -> list[str]:
    """What has pytest use both cores."""
    return ["-n", str(workers), "--dist", "worksteal"]


def unit(step: Step, extra: list[str]) -> None:
    step.pytest("unit", *(extra or spread(UNIT_WORKERS)))


def process(step: Step, extra: list[str]) -> None:
    step.pytest("process", *(extra or spread(PROCESS_WORKERS)))


def chart(step: Step, extra: list[str]) -> None:
    # The chart tests need helm, and the CRDs out of their Go modules: both come with the lab's tools.
    if step.needs("tools"):
        step.pytest("chart", *(extra or spread(CHART_WORKERS)))


def engine(step: Step, extra: list[str]) -> None:
    if step.needs("engine"):
        # Its logs, where they can be found after a failure.
        kept = f"--basetemp={OUT / 'tmp' / 'engine'}"
        step.pytest(
            "engine",
            kept,
            *extra,
            python=engine_python(),
            env={"PYTHONPATH": f"{ROOT}/core/src:{ROOT}/connector/src:{ROOT}"},
        )


def cluster(step: Step, extra: list[str]) -> None:
    if not target(start=False).is_lab:
        return step.pytest("cluster", *extra)
    with lab_up(lab) as well:
        if well or step.did("the lab's start", False):
            step.pytest("cluster", *extra)


LAYERS: dict[str, Callable[[Step, list[str]], None]] = {
    "lint": lint,
    "unit": unit,
    "process": process,
    "chart": chart,
    "engine": engine,
    "cluster": cluster,
}


def build(step: Step, _: list[str]) -> None:
    """First, so that all downloads and builds overlap, and the chart tests find the real picker and Envoy."""
    end_killed(lab)  # before the engine's tests too, which want the memory that its pods would hold
    step.needs("gate")


def outcome(name: str, run: Callable[[Step, list[str]], None], extra: list[str]) -> Outcome:
    began, step = time.monotonic(), Step()
    run(step, extra)
    return Outcome(name, step.counts, time.monotonic() - began, tuple(step.failures))


def main(argv: list[str]) -> int:
    split = argv.index("--") if "--" in argv else len(argv)
    names, extra = argv[:split] or list(LAYERS), argv[split + 1 :]
    if unknown := [n for n in names if n not in LAYERS]:
        print(f"unknown layer {unknown[0]!r}; the layers are: {' '.join(LAYERS)}", file=sys.stderr)
        return 2
    state = results.state_of(ROOT)
    (OUT / "tmp").mkdir(parents=True, exist_ok=True)
    mounts.leftovers()  # of a run that was killed: pytest empties its folders, and would hang in a mount that does
    for name in names:  # a layer that cannot even begin must not show an earlier run's
        report_of(name).unlink(missing_ok=True)
    outcomes = []
    if "cluster" in names and target(start=False).is_lab:
        outcomes.append(outcome("build", build, []))
    for name in names:
        outcomes.append(outcome(name, LAYERS[name], extra))
    stale = record.stale(record.read())
    remarks = [f"no green acceptance of the code as it is: {' '.join(stale)}"] if stale else []
    print("\n" + results.told(outcomes, remarks if names == list(LAYERS) else ()))
    if names == list(LAYERS):
        results.write_summary(OUT / "summary.json", state, outcomes, remarks)
    return 1 if any(one.counts.failed for one in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Runs the layers of the tests, fastest first, and ends with one line of counts.

    python -m tests.run                 all layers
    python -m tests.run unit chart      only these
    python -m tests.run cluster -- -k upgrade      what follows `--` goes to pytest

A layer that fails does not stop the next one: one run says everything that is wrong.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.lab.cluster import target
from tests.lab.paths import engine_python

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "build" / "test"
VENV = ROOT / ".venv" / "bin"


@dataclass(frozen=True)
class Counts:
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def call(argv: list[str], env: dict[str, str] | None = None) -> bool:
    print(f"$ {' '.join(argv)}", flush=True)
    return subprocess.run(argv, cwd=ROOT, env={**os.environ, **(env or {})}, check=False).returncode == 0


def lint(_: list[str]) -> Counts:
    sources = ["hooks", "connector", "evictor", "tests", "charts/tools", "docs/site", "charts/llm-d-storage/files"]
    typed = [
        "hooks/src",
        "connector/src",
        "evictor/src",
        "tests/lab",
        "tests/demo",
        "tests/cluster_bench",
        "tests/run.py",
        "charts/tools",
        "docs/site",
    ]
    results = [
        call([str(VENV / "ruff"), "format", "--check", "-q", *sources]),
        call([str(VENV / "ruff"), "check", "-q", *sources]),
        call([str(VENV / "mypy"), *typed]),
        call([str(VENV / "lint-imports"), "--no-cache"]),
    ]
    return Counts(passed=results.count(True), failed=results.count(False))


def report_of(layer: str) -> Path:
    return OUT / f"{layer}.xml"


def pytest(layer: str, python: Path, extra: list[str], env: dict[str, str] | None = None) -> Counts:
    report = report_of(layer)
    ok = call([str(python), "-m", "pytest", "-q", "--tb=short", f"--junitxml={report}", f"tests/{layer}", *extra], env)
    if not report.exists():
        return Counts(failed=1)
    suites = list(ET.parse(report).getroot().iter("testsuite"))
    total, failures, errors, skipped = (
        sum(int(s.get(k, "0")) for s in suites) for k in ("tests", "failures", "errors", "skipped")
    )
    failed = failures + errors
    # pytest can fail without a failed test (a collection error, an interrupted run): that counts too.
    return Counts(total - failed - skipped, failed if ok or failed else 1, skipped)


def failed_tests(names: list[str]) -> list[str]:
    """A line for each test of these layers that failed: its name, and what it says."""
    reports = [one for one in map(report_of, names) if one.exists()]
    cases = [case for one in reports for case in ET.parse(one).getroot().iter("testcase")]
    said = [(case, bad) for case in cases for bad in (*case.iter("failure"), *case.iter("error"))]
    return [
        f"FAILED {case.get('classname')}::{case.get('name')}: {' '.join(bad.get('message', '').split())[:400]}"
        for case, bad in said
    ]


def lab_builds(part: str) -> bool:
    return call([str(VENV / "python"), "-m", "tests.lab", "build", part])


def unit(extra: list[str]) -> Counts:
    # What is measured, and how much of it must be covered: pyproject.toml. A part of the tests covers a part of it.
    return pytest("unit", VENV / "python", extra or ["--cov", "--cov-report=term:skip-covered"])


def chart(extra: list[str]) -> Counts:
    # The chart tests need helm, and the CRDs out of their Go modules: both come with the lab's tools.
    if not lab_builds("tools"):
        return Counts(failed=1)
    return pytest("chart", VENV / "python", extra)


def engine(extra: list[str]) -> Counts:
    if not lab_builds("engine"):
        return Counts(failed=1)
    return pytest("engine", engine_python(), extra, {"PYTHONPATH": f"{ROOT}/connector/src:{ROOT}"})


def cluster(extra: list[str]) -> Counts:
    if not target(start=False).is_lab:
        return pytest("cluster", VENV / "python", extra)
    was_up = call([str(VENV / "python"), "-m", "tests.lab", "status", "--quiet"])
    try:
        if not call([str(VENV / "python"), "-m", "tests.lab", "up"]):
            return Counts(failed=1)
        return pytest("cluster", VENV / "python", extra)
    finally:
        if not was_up:  # leave the machine as it was found
            call([str(VENV / "python"), "-m", "tests.lab", "down"])


LAYERS: dict[str, Callable[[list[str]], Counts]] = {
    "lint": lint,
    "unit": unit,
    "chart": chart,
    "engine": engine,
    "cluster": cluster,
}


def main(argv: list[str]) -> int:
    split = argv.index("--") if "--" in argv else len(argv)
    names, extra = argv[:split] or list(LAYERS), argv[split + 1 :]
    if unknown := [n for n in names if n not in LAYERS]:
        print(f"unknown layer {unknown[0]!r}; the layers are: {' '.join(LAYERS)}", file=sys.stderr)
        return 2
    OUT.mkdir(parents=True, exist_ok=True)
    for name in names:  # a layer that cannot even begin must not show an earlier run's
        report_of(name).unlink(missing_ok=True)
    total, lines = Counts(), []
    if "cluster" in names and target(start=False).is_lab:
        # First, so that all downloads and builds overlap, and the chart tests find the real picker and Envoy.
        start = time.monotonic()
        total += Counts(failed=0 if lab_builds("tests") else 1)
        lines.append(f"{'build':8} {time.monotonic() - start:.0f} s")
    for name in names:
        start = time.monotonic()
        counts = LAYERS[name](extra)
        total += counts
        lines.append(f"{name:8} {counts}, {time.monotonic() - start:.0f} s")
    print("\n" + "\n".join([*failed_tests(names), *lines]))
    print(total)
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

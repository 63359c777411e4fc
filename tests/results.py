"""What a run of tests came to: read from pytest's reports, told so that its last lines are enough."""

from __future__ import annotations

import json
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

# What a person, or a CI that keeps only the end, gets to see.
TAIL_LINES = 40
LINE = 240
# A failed test's property that names where its traces are (tests/cluster/fixtures.py).
KEPT = "kept"


@dataclass(frozen=True)
class Counts:
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


@dataclass(frozen=True)
class Failure:
    """A test that failed, the lines of its error, and the folder that has more, if there is one."""

    test: str
    error: tuple[str, ...] = ()
    kept: str = ""


@dataclass(frozen=True)
class Outcome:
    """What one layer, or one part of the acceptance, came to."""

    name: str
    counts: Counts
    seconds: float
    failures: tuple[Failure, ...] = ()
    figures: dict[str, object] = field(default_factory=dict)

    def line(self) -> str:
        return f"{self.name:10} {self.counts}, {self.seconds:.0f} s"


def read(report: Path, ended_well: bool) -> tuple[Counts, tuple[Failure, ...], dict[str, object]]:
    """Counts, failures and recorded figures of a JUnit report. No report, or a bad end without a failed test, fails."""
    if not report.exists():
        return Counts(failed=1), (Failure(f"{report.stem}: pytest wrote no report; see above"),), {}
    root = ET.parse(report).getroot()
    total = failed = skipped = 0
    for suite in root.iter("testsuite"):
        total += int(suite.get("tests", "0"))
        failed += int(suite.get("failures", "0")) + int(suite.get("errors", "0"))
        skipped += int(suite.get("skipped", "0"))
    failures = [_failure(case, bad) for case in root.iter("testcase") if (bad := _bad(case)) is not None]
    passed = total - failed - skipped
    if not ended_well and not failed:
        failed, failures = 1, [Failure(f"{report.stem}: pytest ended badly without a failed test; see above")]
    figures = {
        one.get("name", ""): json.loads(one.get("value", "null"))
        for case in root.iter("testcase")
        for one in case.iter("property")
        if one.get("name") != KEPT
    }
    return Counts(passed, failed, skipped), tuple(failures), figures


def _bad(case: ET.Element) -> ET.Element | None:
    return next((child for child in case if child.tag in ("failure", "error")), None)


def _failure(case: ET.Element, bad: ET.Element) -> Failure:
    # pytest marks the lines of the error itself; the message of a module that cannot be imported says only so.
    marked = [line[1:].strip() for line in (bad.text or "").splitlines() if line.startswith("E ")]
    error = [line for line in marked or (bad.get("message") or "").splitlines() if line.strip()]
    kept = next((one.get("value", "") for one in case.iter("property") if one.get("name") == KEPT), "")
    # A module that cannot be imported has no file.
    where = case.get("file") or (case.get("classname") or "").replace(".", "/")
    return Failure(f"{where}::{case.get('name')}", tuple(error), kept)


def told(outcomes: Sequence[Outcome], remarks: Iterable[str] = ()) -> str:
    """At most TAIL_LINES lines: each failed test with the first lines of its error, then remarks and counts."""
    ends = [*(f"note: {one}"[:LINE] for one in remarks), *(one.line() for one in outcomes)]
    ends.append(str(sum((one.counts for one in outcomes), Counts())))
    failures = [failure for one in outcomes for failure in one.failures]
    room = TAIL_LINES - len(ends) - 1
    each = max(1, room // len(failures)) if failures else 0
    lines: list[str] = []
    for failure in failures:
        more = [*failure.error[: max(0, each - 1 - bool(failure.kept))]]
        kept = [f"traces: {failure.kept}"] if failure.kept and each > 1 else []
        lines += [f"FAILED {failure.test}"[:LINE], *(f"    {line}"[:LINE] for line in (*more, *kept))]
    if len(lines) > room:
        lines = [*lines[: room - 1], f"... {len(failures)} failed in all: build/test/summary.json names each"]
    return "\n".join([*lines, *ends])


@dataclass(frozen=True)
class State:
    """The commit that was tested, and whether the tree was that commit."""

    commit: str
    clean: bool


def state_of(root: Path, *made: Path) -> State:
    """made: what runs write into the tree, which leaves it clean. Raises nothing: an unpacked archive has no commit."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else "unknown"

    others = (f":(exclude){one.relative_to(root)}" for one in made)
    return State(git("rev-parse", "HEAD"), git("status", "--porcelain", "--", ".", *others) == "")


def write_summary(path: Path, state: State, outcomes: Sequence[Outcome], remarks: Sequence[str] = ()) -> None:
    """The run for programs: commit, whether the tree was clean, counts, seconds a layer, result."""
    counts = sum((one.counts for one in outcomes), Counts())
    summary = {
        "result": "failed" if counts.failed else "passed",
        **asdict(state),
        **asdict(counts),
        "seconds": round(sum(one.seconds for one in outcomes)),
        "layers": {one.name: {**asdict(one.counts), "seconds": round(one.seconds, 1)} for one in outcomes},
        "failures": [asdict(failure) for one in outcomes for failure in one.failures],
        "notes": list(remarks),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(summary, indent=2) + "\n")

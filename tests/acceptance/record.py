"""docs/acceptance.json: what each part last came to, on which code; and the page that is made from it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.acceptance.parts import PARTS, Part
from tests.results import Outcome, State

ROOT = Path(__file__).resolve().parents[2]
RECORD = ROOT / "docs" / "acceptance.json"
PAGE = ROOT / "docs" / "acceptance.md"
# What the parts write: the record of one must not make the tree of the next look changed.
MADE = (RECORD, PAGE, ROOT / "docs" / "pictures")

Records = dict[str, dict[str, Any]]


def digest(part: Part, root: Path = ROOT) -> str:
    """Of the files that the part is about, as they are in the tree now: committed or not, ignored ones left out."""
    argv = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *part.sources]
    names = subprocess.run(argv, cwd=root, capture_output=True, text=True, check=True).stdout.split("\0")
    whole = hashlib.sha256()
    for name in sorted({name for name in names if name}):
        if (file := root / name).is_file():  # not one that is deleted and still known to git
            whole.update(f"{name}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()[:16]


def read(path: Path = RECORD) -> Records:
    return dict(json.loads(path.read_text())) if path.exists() else {}


def is_current(part: Part, records: Mapping[str, Any], root: Path = ROOT) -> bool:
    """Whether the part was green on the code as it is now."""
    one = records.get(part.name)
    return one is not None and one["result"] == "passed" and one["code"] == digest(part, root)


def stale(records: Mapping[str, Any], root: Path = ROOT) -> list[str]:
    """The parts without a green record of the present code."""
    return [part.name for part in PARTS if not is_current(part, records, root)]


def entry(part: Part, outcome: Outcome, state: State, code: str) -> dict[str, Any]:
    """code: the digest from before the part was run, so that an edit meanwhile makes the record old."""
    counts = outcome.counts
    return {
        "result": "failed" if counts.failed or not counts.passed else "passed",
        "commit": state.commit[:12] + ("" if state.clean else " and changes not committed"),
        "code": code,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": machine(),
        **asdict(counts),
        "seconds": round(outcome.seconds),
        "figures": outcome.figures,
        "failures": [failure.test for failure in outcome.failures],
    }


def machine() -> str:
    """What a reader must know to read the figures; nothing that names the machine."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{len(os.sched_getaffinity(0))} cores ({model}), {memory:.0f} GiB"


def write(records: Records, record: Path = RECORD, page: Path = PAGE) -> None:
    """At once, so that a run that is killed loses at most the part it was at."""
    ordered = {part.name: records[part.name] for part in PARTS if part.name in records}
    for path, text in ((record, json.dumps(ordered, indent=2) + "\n"), (page, as_page(ordered))):
        new = path.with_name(path.name + ".new")
        new.write_text(text)
        new.replace(path)


def as_page(records: Mapping[str, Any]) -> str:
    lines = [
        "# Acceptance",
        "",
        "Made by `make acceptance` from [acceptance.json](acceptance.json); do not edit. What is too long or too heavy",
        'for `make test`. `make acceptance ARGS="NAME"` runs a part; without a name, those run that have no green',
        "record of the code as it is now. The record says on which commit and machine; the seconds are that machine's.",
        "",
    ]
    for part in PARTS:
        lines += [f"## {part.name}", part.proves[0].upper() + part.proves[1:] + ".", ""]
        one = records.get(part.name)
        if one is None:
            lines += ["No record yet.", ""]
            continue
        counts = f"{one['passed']} passed, {one['failed']} failed, {one['skipped']} skipped"
        lines += [
            f"**{one['result'].capitalize()}**: {counts}, {one['seconds']} s, on {one['date']}, "
            f"commit {one['commit']}; {one['machine']}.",
            "",
        ]
        if one["failures"]:
            lines += [*(f"- failed: `{name}`" for name in one["failures"]), ""]
        if one["figures"]:
            lines += ["| figure | value |", "| --- | --- |"]
            lines += [f"| {name} | {shown(value)} |" for name, value in one["figures"].items()]
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(map(shown, value))
    if isinstance(value, dict):
        return ", ".join(f"{name}: {shown(one)}" for name, one in value.items())
    return str(value)

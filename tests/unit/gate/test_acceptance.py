"""The acceptance's record: a part whose code changed since it was green must not pass for proven."""

from __future__ import annotations

import json
import re
import subprocess
import warnings
from pathlib import Path

from tests.acceptance import record
from tests.acceptance.parts import BY_NAME, PARTS, Part
from tests.results import Counts, Failure, Outcome, State

ROOT = record.ROOT


def part(**changes: object) -> Part:
    fields: dict[str, object] = {
        "name": "evictor",
        "proves": "it",
        "tests": ("test_it.py",),
        "code": ("src",),
        "minutes": 1,
    }
    return Part(**(fields | changes))  # type: ignore[arg-type]


def repository(folder: Path) -> Path:
    (folder / "src").mkdir()
    (folder / "src" / "a.py").write_text("1")
    (folder / "test_it.py").write_text("2")
    (folder / ".gitignore").write_text("*.pyc\n")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    return folder


def test_every_part_is_of_files_that_are_there() -> None:
    for one in PARTS:
        for name in one.sources:
            assert (ROOT / name).exists(), f"{one.name}: {name}"
    assert len(BY_NAME) == len(PARTS)
    tests = {str(p.relative_to(ROOT)) for p in (ROOT / "tests" / "acceptance").rglob("test_*.py")}
    assert tests <= {name for one in PARTS for name in one.tests}, "a file that no part runs proves nothing"


def test_a_change_of_its_code_and_nothing_else_makes_a_record_old(tmp_path: Path) -> None:
    root, one = repository(tmp_path), part()
    records = {
        "evictor": record.entry(
            one, Outcome("evictor", Counts(3), 9.7), State("c" * 40, True), record.digest(one, root)
        )
    }
    assert record.is_current(one, records, root)
    (root / "elsewhere.py").write_text("3")
    (root / "src" / "a.pyc").write_text("4")
    assert record.is_current(one, records, root)
    (root / "src" / "b.py").write_text("5")
    assert not record.is_current(one, records, root)
    (root / "src" / "b.py").unlink()
    assert record.is_current(one, records, root)
    (root / "test_it.py").write_text("6")
    assert not record.is_current(one, records, root)


def test_only_a_green_run_counts(tmp_path: Path) -> None:
    root, one = repository(tmp_path), part()
    code, state = record.digest(one, root), State("c" * 40, False)
    for counts in (Counts(3, 1), Counts(0, 0, 4), Counts()):
        outcome = Outcome("evictor", counts, 1.0, (Failure("a::b"),) * counts.failed)
        entry = record.entry(one, outcome, state, code)
        assert entry["result"] == "failed" and not record.is_current(one, {"evictor": entry}, root)
        assert entry["commit"].endswith("not committed")


def test_the_page_shows_every_part_and_figure(tmp_path: Path) -> None:
    outcome = Outcome("evictor", Counts(7), 61.2, (), {"takeover_s": 10.25, "ratios": [1.5, 2.0]})
    records = {"evictor": record.entry(BY_NAME["evictor"], outcome, State("abcdef0123456789", True), "x")}
    record.write(records, tmp_path / "a.json", tmp_path / "a.md")
    page = (tmp_path / "a.md").read_text()
    assert json.loads((tmp_path / "a.json").read_text()) == records
    assert re.findall(r"^## (.*)$", page, re.MULTILINE) == [one.name for one in PARTS]
    assert "| takeover_s | 10.25 |" in page and "| ratios | 1.5, 2 |" in page
    assert "**Passed**: 7 passed, 0 failed, 0 skipped, 61 s" in page and "commit abcdef012345;" in page
    assert page.count("No record yet.") == len(PARTS) - 1


def test_the_committed_page_is_made_from_the_committed_record() -> None:
    assert record.PAGE.read_text() == record.as_page(record.read())


def test_parts_without_a_green_record_of_this_code_are_named() -> None:
    """Named, not refused: a part is run when the capability is done that it proves, not for every change."""
    records = record.read()
    assert set(records) <= set(BY_NAME)
    if stale := record.stale(records):
        warnings.warn(f"no green acceptance of the code as it is: {' '.join(stale)}", stacklevel=1)

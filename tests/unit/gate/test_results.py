"""What a red run says: a reader of its last lines would otherwise not know what to mend."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests import results
from tests.results import Counts, Failure, Outcome, State

TESTS = """
import pytest

@pytest.fixture
def broken():
    raise OSError("the fixture's own")

def test_good(record_property): record_property("answers", "12")
def test_bad(): assert [1, 2] == [1, 3], "first\\nsecond\\nthird"
def test_cannot_begin(broken): pass
@pytest.mark.skip(reason="not now")
def test_left_out(): pass
"""


def run(folder: Path, text: str, *words: str) -> tuple[Path, bool]:
    (folder / "test_it.py").write_text(text)
    report = folder / "it.xml"
    ini = Path(__file__).resolve().parents[3] / "pyproject.toml"
    argv = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", "-c", str(ini), f"--rootdir={folder}", *words]
    done = subprocess.run([*argv, str(folder)], cwd=folder, capture_output=True, text=True, check=False)
    return report, done.returncode == 0


def test_a_report_of_pytest_is_read(tmp_path: Path) -> None:
    counts, failures, figures = results.read(*run(tmp_path, TESTS))
    assert counts == Counts(passed=1, failed=2, skipped=1)
    assert [one.test for one in failures] == ["test_it.py::test_bad", "test_it.py::test_cannot_begin"]
    assert failures[0].error[0] == "AssertionError: first"
    assert "the fixture's own" in failures[1].error[0]
    assert figures == {"answers": 12}


def test_a_module_that_cannot_be_imported_is_named(tmp_path: Path) -> None:
    counts, (failure,), _ = results.read(*run(tmp_path, "import nothing_of_this_name"))
    assert counts.failed == 1
    assert "test_it" in failure.test and any("nothing_of_this_name" in line for line in failure.error)


def test_a_run_that_wrote_nothing_or_ended_badly_without_a_failure_has_failed(tmp_path: Path) -> None:
    assert results.read(tmp_path / "gone.xml", True)[0].failed == 1
    report, _ = run(tmp_path, "def test_good(): pass")
    assert results.read(report, True)[0] == Counts(passed=1)
    assert results.read(report, False)[0] == Counts(passed=1, failed=1)


@pytest.mark.parametrize("failed", [0, 1, 3, 12, 300])
def test_the_tail_is_short_and_names_what_it_can(failed: int) -> None:
    failures = [
        Failure(f"tests/x.py::test_{n}", tuple(f"line {i} of {n}" for i in range(50)), "kept/x") for n in range(failed)
    ]
    outcome = Outcome("unit", Counts(10, failed), 3.2, tuple(failures))
    lines = results.told([Outcome("lint", Counts(4), 1.0), outcome], ["a remark"]).splitlines()
    assert len(lines) <= results.TAIL_LINES
    assert max(map(len, lines)) <= results.LINE
    assert lines[-1] == str(Counts(14, failed)) and lines[-4] == "note: a remark"
    named = [line for line in lines if line.startswith("FAILED")]
    assert len(named) == failed if failed <= 12 else len(named) > 30
    if failed in (1, 3):
        assert sum("line" in line for line in lines) > 3 * failed and any("kept/x" in line for line in lines)
    if failed == 300:
        assert any("300 failed in all" in line for line in lines)


def test_the_summary_says_of_which_commit_and_how_it_ended(tmp_path: Path) -> None:
    outcomes = [Outcome("unit", Counts(10), 3.21), Outcome("chart", Counts(5, 1, 2), 7, (Failure("a::b", ("no",)),))]
    results.write_summary(tmp_path / "deep" / "summary.json", State("abc", True), outcomes, ["a remark"])
    seen = json.loads((tmp_path / "deep" / "summary.json").read_text())
    assert {key: seen[key] for key in ("result", "commit", "clean", "passed", "failed", "skipped")} == {
        "result": "failed", "commit": "abc", "clean": True, "passed": 15, "failed": 1, "skipped": 2,
    }  # fmt: skip
    assert seen["layers"]["unit"] == {"passed": 10, "failed": 0, "skipped": 0, "seconds": 3.2}
    assert seen["failures"] == [{"test": "a::b", "error": ["no"], "kept": ""}]


def test_the_commit_is_gits_and_a_changed_file_makes_the_tree_unclean(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        argv = ["git", "-c", "user.name=x", "-c", "user.email=x@example.com", *words]
        return subprocess.run(argv, cwd=tmp_path, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-q", "-m", "one")
    assert results.state_of(tmp_path) == State(git("rev-parse", "HEAD"), True)
    (tmp_path / "other").write_text("2")
    assert not results.state_of(tmp_path).clean
    assert results.state_of(tmp_path, tmp_path / "other").clean
    assert not results.state_of(tmp_path, tmp_path / "file").clean

"""A person would lose: commands that say what is wrong and what to do instead of a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.lab import health
from tests.lab.cli import app
from tests.lab.paths import Lab

runner = CliRunner()


@pytest.fixture(autouse=True)
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMD_LAB_HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    return tmp_path


def test_help_has_examples() -> None:
    said = runner.invoke(app, ["--help"]).output
    assert "python -m tests.lab up" in said and "fault link-cut n1" in said


def test_status_without_a_lab_is_not_well() -> None:
    r = runner.invoke(app, ["status"])
    assert r.exit_code == 1 and "the lab is not up" in r.output
    assert runner.invoke(app, ["status", "--quiet"]).output == ""


def test_kubeconfig_says_that_the_lab_is_not_up() -> None:
    r = runner.invoke(app, ["kubeconfig"])
    assert r.exit_code == 1
    assert "run/kubeconfig" in r.output and "python -m tests.lab up" in r.output


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["fault", "link-cut", "n9"], "there are: n1, n2"),
        (["fault", "stop", "etcd"], "the lab is not up"),
        (["build", "everything"], "none of all, tools, helm-3, engine"),
        (["logs", "nothing"], "no log is named 'nothing'"),
    ],
)
def test_a_wrong_word_gets_a_sentence(args: list[str], words: str) -> None:
    r = runner.invoke(app, args)
    assert r.exit_code != 0 and words in " ".join(r.output.split())


def test_logs_finds_steps_and_components(empty_home: Path) -> None:
    log = empty_home / "log" / "component"
    log.mkdir(parents=True)
    (log / "n1-kubelet.log").write_text("hello\n")
    assert runner.invoke(app, ["logs", "n1/kubelet"]).exit_code == 0
    assert "n1-kubelet.log" in runner.invoke(app, ["logs"]).output


def test_a_run_that_did_not_come_to_its_end_is_not_well(lab_here: Lab) -> None:
    lab_here.run.mkdir(parents=True)
    found = health.check(lab_here)
    assert found.running and not found.well
    assert found.complaints == ["the last `up` did not come to its end"]

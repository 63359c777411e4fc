"""What the demo says of itself: the report's form, and the lines about pods."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from rich.console import Console as Terminal

from tests.demo.install import Demo, last_json, states
from tests.demo.report import build, table
from tests.lab.cluster import Target
from tests.lab.errors import LabError
from tests.lab.paths import REPO
from tests.lab.proc import Console
from tests.lab.steps import Record, State, Step

PROOF = {
    "reusedFraction": 1.0,
    "reusedTokens": 2208,
    "promptTokens": 2225,
    "tokensEqual": True,
    "logprobsMaxDelta": 0.0,
    "source": "storage",
    "ttftColdSeconds": 15.0,
    "ttftWarmSeconds": 1.5,
    "ttftRouterSeconds": 0.4,
    "bytesRead": 101744640,
    "podA": "a",
    "podB": "b",
    "nodeA": "n1",
    "nodeB": "n2",
}


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    nowhere = Target(kubeconfig=tmp_path / "kubeconfig", is_lab=False, helm=tmp_path, kubectl=tmp_path)
    demo = Demo(nowhere, tmp_path, tmp_path / "v.yaml", Path("LICENSE"), "demo", "ns", {"proof": PROOF})
    monkeypatch.setattr(Demo, "hook_report", lambda self, hook: {"verdict": "pass"})
    record = Record(Step("install", lambda console: None), Console(tmp_path / "log"), State.DONE, seconds=2.0)
    return build(demo, [record], False, 3.0)


def test_the_report_follows_its_schema(report: dict[str, Any]) -> None:
    jsonschema.validate(report, json.loads((REPO / "schemas" / "demo-report.schema.json").read_text()))
    assert report["proof"]["speedup"] == 10.0


def test_the_table_says_where_the_tokens_came_from_and_whether_they_are_the_same(report: dict[str, Any]) -> None:
    def shown() -> str:
        terminal = Terminal(width=100, record=True, file=io.StringIO())
        terminal.print(table(report))
        return terminal.export_text()

    assert "storage" in shown()
    assert "15.00 s" in shown()
    report["proof"]["tokensEqual"] = False
    assert "NO" in shown()


def test_a_log_without_a_report_is_an_error_and_not_an_empty_one() -> None:
    assert last_json('progress\n{"verdict": "pass"}\n') == {"verdict": "pass"}
    with pytest.raises(LabError, match="no report"):
        last_json("progress\nTraceback\n")


def test_pods_are_shown_with_the_reason_why_they_wait() -> None:
    waiting = {
        "metadata": {"name": "demo-modelserver-1"},
        "status": {
            "phase": "Pending",
            "containerStatuses": [{"ready": False, "state": {"waiting": {"reason": "ErrImagePull"}}}],
        },
    }
    running = {
        "metadata": {"name": "demo-epp-1"},
        "status": {"phase": "Running", "containerStatuses": [{"ready": True, "state": {"running": {}}}]},
    }
    assert states([waiting, running]) == "epp-1 ready, modelserver-1 ErrImagePull"

"""A person would lose: memory, and kinds in the cluster, to what a killed test run left."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import yaml

from tests.lab import addons, deps, gotools, health, istio, plan, up, versions
from tests.lab.errors import LabError
from tests.lab.gotools import GoTool
from tests.lab.paths import Lab
from tests.lab.steps import Record


def test_up_takes_away_what_a_killed_test_run_left(lab_here: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[Lab] = []
    monkeypatch.setitem(addons.END, "istiod", stopped.append)
    monkeypatch.setattr(up, "requirements", lambda: None)
    monkeypatch.setattr(health, "check", lambda lab: health.Health(True, []))
    monkeypatch.setattr(up, "run", lambda *_: list[Record]())
    up.up(lab_here, up.Terminal(quiet=True))
    assert stopped == []
    (lab_here.run / "istiod").mkdir(parents=True)
    up.up(lab_here, up.Terminal(quiet=True))
    assert stopped == [lab_here]


def test_a_tool_is_built_again_only_when_its_module_changed(lab_here: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deps, "GO_TOOLS", lab_here.home)
    folder = lab_here.home / "x"
    folder.mkdir(parents=True)
    for name in ("go.mod", "go.sum"):
        (folder / name).write_text("1")
    tool = GoTool("prog", "x", "example.com/prog")
    assert not gotools.is_current(lab_here, tool)
    lab_here.bin.mkdir()
    (lab_here.bin / "prog").touch(mode=0o755)
    (lab_here.bin / ".prog").write_text(tool.digest() + "\n")
    assert gotools.is_current(lab_here, tool)
    (folder / "go.sum").write_text("2")
    assert not gotools.is_current(lab_here, tool)


def test_istio_is_built_for_tests_and_never_by_up(lab_here: Lab) -> None:
    groups = {group: {s.name for s in steps} for group, steps in plan.build_groups(lab_here).items()}
    assert groups["istiod"] == groups["all"] | {"pilot-discovery"}
    assert "pilot-discovery" in groups["acceptance"] and "pilot-discovery" not in groups["gate"]
    of_up = {s.name for s in [*plan.build_steps(lab_here), *plan.run_steps(lab_here)]}
    assert "pilot-discovery" not in of_up


def test_the_template_of_a_gateway_has_no_mark_left(lab_here: Lab) -> None:
    config = yaml.safe_load(istio.injection(lab_here))
    template = config["templates"]["kube-gateway"]
    assert versions.ENVOY_IMAGE in template and "address: 10.240.0.1, port_value: 15010" in template
    assert set(re.findall("@[A-Z_]+@", template)) == {"@TOKEN@"}, "which is filled in inside the pod"


def test_the_picker_and_istio_are_built_for_the_same_inference_extension() -> None:
    def version(text: str) -> str:
        words = next(line.split() for line in text.splitlines() if "gateway-api-inference-extension v" in line)
        return words[1]

    assert version((istio.TOOL.module / "go.mod").read_text()) == version((deps.GO_TOOLS / "go.mod").read_text())


def test_a_module_that_cannot_be_had_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gotools, "output", lambda *_, **__: '{"Path": "x.y/z", "Error": "not found"}')
    with pytest.raises(LabError, match=r"Go module x\.y/z: not found"):
        gotools.source(istio.TOOL, "x.y/z")
    assert os.path.isdir(istio.TOOL.module)

"""What import-linter cannot hold of the packages' shape."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import yaml

from tests.unit.docs.commands import ROOT

PACKAGES = ("core", "connector", "hooks", "evictor")
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package / "src").rglob("*.py"))]
LINES_A_CLASS = 200


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_class_can_be_read_at_once(path: Path) -> None:
    classes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)]
    long = {
        c.name: c.end_lineno - c.lineno + 1
        for c in classes
        if c.end_lineno and c.end_lineno - c.lineno >= LINES_A_CLASS
    }
    assert not long


def test_all_distributions_have_the_charts_version() -> None:
    chart = yaml.safe_load((ROOT / "charts/llm-d-storage/Chart.yaml").read_text())["version"]
    for package in PACKAGES:
        (version,) = re.findall(r'^version = "(.*)"$', (ROOT / package / "pyproject.toml").read_text(), re.MULTILINE)
        assert version == chart, package

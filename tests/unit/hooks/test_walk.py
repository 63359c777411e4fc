# SPDX-License-Identifier: Apache-2.0
"""The walk of a StorageClass in docs/architecture.md leads from one function of the code to the next."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
HOOKS = ROOT / "hooks" / "src" / "llmd_storage_hooks"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
WALK = PAGE.partition("### A StorageClass, from the API to a sentence\n")[2].partition("\n#")[0]
STEPS = re.findall(r"^\d+\. (.*)$", WALK, re.MULTILINE)
PLACE = re.compile(r"`([\w/]+\.py):(\w+)`")


def body(path: str, name: str) -> str:
    """The source of a function or class."""
    text = (HOOKS / path).read_text(encoding="utf-8")
    nodes = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef | ast.ClassDef) and n.name == name]
    assert nodes, f"{path} has no {name}"
    return "\n".join(ast.get_source_segment(text, node) or "" for node in nodes)


def test_the_walk_goes_all_the_way():
    assert len(STEPS) > 10
    assert "cli.py:preflight" in STEPS[0] and "write_config_map" in STEPS[-1]


@pytest.mark.parametrize("step", STEPS)
def test_each_step_leads_to_the_next(step):
    (path, name), *called = PLACE.findall(step)
    assert called
    source = body(path, name)
    for other_path, other in called:
        assert body(other_path, other)
        if other_path != "core/report.py":  # named for what the function before it does
            assert re.search(rf"\b{other}\b", source), f"{path}:{name} does not call {other}"

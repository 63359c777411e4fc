"""The docs' commands: each is run by somebody, and those that need nothing are run here."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.patience import CEILING_S
from tests.unit.docs import commands as docs
from tests.unit.docs.commands import ROOT

PATTERNS = (*docs.HERE, *docs.CHART, *docs.RELEASE, *docs.BY_TEST)
HOWTO = "list it in tests/unit/docs/commands.py with who runs it, or open its block with ```sh needs: cloud"
QWEN = {"num_hidden_layers": 64, "num_key_value_heads": 8, "head_dim": 128, "num_attention_heads": 64}


def test_every_command_is_run_by_somebody_or_marked() -> None:
    """A command that nobody runs is wrong after the next rename, and its reader is the one who finds out."""
    loose = [str(c) for c in docs.commands() if not any(re.fullmatch(p, c.text) for p in PATTERNS)]
    assert not loose, f"{HOWTO}: {loose}"


def test_what_a_block_needs_is_a_known_word() -> None:
    for page in docs.PAGES:
        for line, needs, texts in docs.blocks(page):
            assert texts, f"{page.name}:{line}: an empty block"
            assert not needs or needs.removeprefix("needs: ") in docs.NEEDS, f"{page.name}:{line}: {needs}"


def test_the_lists_name_no_command_that_is_gone() -> None:
    texts = [c.text for c in docs.commands()]
    assert not [p for p in PATTERNS if not any(re.fullmatch(p, t) for t in texts)]


@pytest.mark.parametrize("test", sorted(set(docs.BY_TEST.values())))
def test_the_tests_that_are_said_to_run_them_are_there(test: str) -> None:
    path, _, name = test.partition("::")
    tree = ast.parse((ROOT / path).read_text())
    assert name in {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}


def shell(text: str, cwd: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    full = {**os.environ, "PATH": path, "COLUMNS": "200", **env}
    return subprocess.run(
        ["bash", "-euc", text], cwd=cwd, env=full, capture_output=True, text=True, timeout=CEILING_S, check=False
    )


@pytest.mark.parametrize("text", docs.those(docs.HERE))
def test_it_works_as_it_stands(text: str, tmp_path: Path) -> None:
    mount = tmp_path / "blocks"
    mount.mkdir()
    (tmp_path / "Qwen3-32B").mkdir()
    (tmp_path / "Qwen3-32B/config.json").write_text(json.dumps(QWEN))
    for name in ("Makefile", ".venv", "tests", "docs", "image"):
        (tmp_path / name).symlink_to(ROOT / name)
    done = shell(text.replace(docs.MOUNT, str(mount)), tmp_path, {})
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_command_that_is_wrong_is_found(tmp_path: Path) -> None:
    """The reading of blocks: comments, continued lines, and marks."""
    page = tmp_path / "page.md"
    page.write_text(
        "# x\n```sh\nhelm install a \\\n  b   # why\n# a comment\n```\n"
        "```sh needs: cloud\ngcloud x\n```\n```yaml\na: b\n```\n"
    )
    assert list(docs.blocks(page)) == [(2, "", ["helm install a b"]), (7, "needs: cloud", ["gcloud x"])]

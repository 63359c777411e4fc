"""The workflows, by the linter of their field. If not, a pull request is judged by nothing, and nobody notices."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.lab.gotools import ACTIONLINT
from tests.lab.paths import lab
from tests.patience import CEILING_S

FOLDER = Path(__file__).resolve().parents[2] / ".github" / "workflows"
FILES = sorted(FOLDER.glob("*.yaml"))


def actionlint(*files: Path) -> subprocess.CompletedProcess[str]:
    # Other programs that it would call if this machine had them: the answer must not depend on that.
    argv = [lab().bin / ACTIONLINT.program, "-shellcheck=", "-pyflakes=", "-no-color", *files]
    return subprocess.run(argv, capture_output=True, text=True, timeout=CEILING_S, check=False)


def test_they_are_sound() -> None:
    done = actionlint(*FILES)
    assert FILES and done.returncode == 0, done.stdout


def test_a_mistake_is_found(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text(FILES[0].read_text().replace("runs-on:", "run-on:"))
    assert actionlint(broken).returncode == 1


def test_every_make_target_exists() -> None:
    makefile = (FOLDER.parents[1] / "Makefile").read_text()
    targets = {word for line in makefile.splitlines() if line.startswith(".PHONY:") for word in line.split()[1:]}
    used = {
        word for file in FILES for words in re.findall(r"\bmake ([a-z -]+)", file.read_text()) for word in words.split()
    }
    assert used and used <= targets

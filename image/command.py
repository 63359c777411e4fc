"""How a build runs programs: its caller says where their output goes and how long they may take."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

Word = str | Path


class Run(Protocol):
    def __call__(self, argv: Sequence[Word], *, env: Mapping[str, str] | None = None) -> None:
        """Blocks until the program has ended. Raises: an error of the caller's, with a sentence, when it failed."""


def uv_command() -> list[str]:
    """uv as a program beside this Python, on PATH, or as a module of this Python."""
    beside = Path(sys.executable).with_name("uv")
    if beside.exists():
        return [str(beside)]
    found = shutil.which("uv")
    return [found] if found else [sys.executable, "-m", "uv"]

"""The programs that a release is made with."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from image.wheels import ROOT


class ReleaseError(Exception):
    """What keeps a release from being made, in a sentence: what was wrong, where, what to do."""


def run(argv: Sequence[str | Path], *, env: Mapping[str, str] | None = None) -> None:
    """Raises: ReleaseError with the last lines that the program said, when it fails."""
    output(argv, env=env)


def output(argv: Sequence[str | Path], *, env: Mapping[str, str] | None = None) -> str:
    """Returns: what it printed. Raises: ReleaseError."""
    words = [str(word) for word in argv]
    name = " ".join(words)[:160]
    try:
        done = subprocess.run(
            words,
            cwd=ROOT,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        raise ReleaseError(f"{words[0]} is not installed") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-600:]
        raise ReleaseError(f"{name} ended with exit code {done.returncode}: {said}")
    return done.stdout

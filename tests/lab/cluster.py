"""Which cluster do the demo and the cluster tests use: the person's own, or the lab?"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console as Terminal

from tests.lab.errors import LabError
from tests.lab.paths import helm_program, lab


@dataclass(frozen=True, slots=True)
class Target:
    """A cluster to work on, and the programs for it. Nothing of the lab is started when ``is_lab`` is false."""

    kubeconfig: Path | None  # None: the lab, which is not up
    is_lab: bool
    helm: Path
    kubectl: Path


def target(env: Mapping[str, str] = os.environ, *, start: bool = False) -> Target:
    """The cluster of $KUBECONFIG when that is set and is not the lab's own, else the lab.

    ``start`` brings the lab up first, if it is the lab. Raises: LabError when the file of $KUBECONFIG is not there.
    """
    own = lab(env)
    given = env.get("KUBECONFIG", "")
    programs = [_program(helm_program(env), "helm"), _program(own.bin / "kubectl", "kubectl")]
    if given and Path(given).resolve() != own.kubeconfig:
        if not Path(given).is_file():
            raise LabError(f"KUBECONFIG names {given}, which is no file: unset it to use the lab")
        return Target(Path(given), False, *programs)
    if start:
        from tests.lab import up

        up.up(own, Terminal(soft_wrap=True))
    return Target(own.kubeconfig if own.kubeconfig.exists() else None, True, *programs)


def _program(of_the_lab: Path, name: str) -> Path:
    """The lab's own program; the one on PATH when the lab has not been built."""
    found = None if of_the_lab.exists() else shutil.which(name)
    return Path(found) if found else of_the_lab

"""The kinds of Flux as CRDs, to check HelmReleases against: its controllers are not to be had, its Go types are.

Made by controller-gen, the tool that Flux's own project makes them with.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from tests.lab import deps, digest
from tests.lab.deps import GO_TOOLS
from tests.lab.paths import Lab
from tests.lab.proc import Console
from tests.patience import CEILING_S

TOOL = GO_TOOLS / "flux"
PACKAGES = ("github.com/fluxcd/helm-controller/api/v2", "github.com/fluxcd/source-controller/api/v1")
STAMP = ".made-from"


def _digest() -> str:
    return digest.of_files([TOOL / "go.mod", TOOL / "go.sum"], *PACKAGES)


def is_made(lab: Lab) -> bool:
    return digest.stamped(lab.flux / STAMP, _digest())


def make(c: Console, lab: Lab) -> None:
    with tempfile.TemporaryDirectory(dir=lab.home) as tmp:
        new = Path(tmp) / "new"
        where = ["crd", f"paths={';'.join(PACKAGES)}", f"output:crd:artifacts:config={new}"]
        argv = ["go", "run", "sigs.k8s.io/controller-tools/cmd/controller-gen", *where]
        c.say("generating the CRDs of Flux")
        c.run(argv, cwd=TOOL, env=deps.go_env(), timeout_s=6 * CEILING_S)
        (new / STAMP).write_text(_digest() + "\n")
        shutil.rmtree(lab.flux, ignore_errors=True)
        new.rename(lab.flux)


def crd_files(lab: Lab) -> list[Path]:
    """None before they were made."""
    return sorted(lab.flux.glob("*.yaml")) if is_made(lab) else []

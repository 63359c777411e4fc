"""Go programs that only some tests need: each built from a module of its own, once, and kept."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.lab import deps, digest
from tests.lab.errors import LabError
from tests.lab.paths import Lab
from tests.lab.proc import Console, output
from tests.patience import CEILING_S


@dataclass(frozen=True, slots=True)
class GoTool:
    """A program, and the folder below ``tools`` whose go.mod and go.sum pin all that it is made from."""

    program: str
    folder: str
    package: str
    ldflags: str = "-s -w"

    @property
    def module(self) -> Path:
        return deps.GO_TOOLS / self.folder

    def digest(self) -> str:
        return digest.of_files([self.module / "go.mod", self.module / "go.sum"], self.package, self.ldflags)


ACTIONLINT = GoTool("actionlint", "actionlint", "github.com/rhysd/actionlint/cmd/actionlint")

REGISTRY = GoTool("registry", "registry", "github.com/distribution/distribution/v3/cmd/registry")
CRANE = GoTool("crane", "registry", "github.com/google/go-containerregistry/cmd/crane")


def is_current(lab: Lab, tool: GoTool) -> bool:
    return os.access(lab.bin / tool.program, os.X_OK) and digest.stamped(_stamp(lab, tool), tool.digest())


def build(c: Console, lab: Lab, tool: GoTool) -> None:
    lab.bin.mkdir(parents=True, exist_ok=True)
    env = deps.go_env()
    c.say("downloading Go modules")
    c.run(["go", "mod", "download"], cwd=tool.module, env=env, timeout_s=3 * CEILING_S)
    c.say(f"building {tool.program}")
    with tempfile.TemporaryDirectory(dir=lab.home) as tmp:
        made = Path(tmp) / tool.program
        c.run(
            ["go", "build", "-ldflags", tool.ldflags, "-o", made, tool.package],
            cwd=tool.module,
            env=env,
            timeout_s=12 * CEILING_S,
        )
        deps.place(made, lab.bin / tool.program)
    _stamp(lab, tool).write_text(tool.digest() + "\n")


def source(tool: GoTool, module: str) -> Path:
    """The folder of one of its modules in the module cache. Blocks while Go downloads what is not there yet."""
    env = {**deps.go_env(), "GOFLAGS": "-mod=readonly"}
    text = output(["go", "-C", tool.module, "mod", "download", "-json", module], timeout_s=2 * CEILING_S, env=env)
    found = json.loads(text)
    if error := found.get("Error"):
        raise LabError(f"Go module {module}: {error}")
    return Path(found["Dir"])


def _stamp(lab: Lab, tool: GoTool) -> Path:
    return lab.bin / f".{tool.program}"

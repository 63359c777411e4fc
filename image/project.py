"""What the project image adds to its base, below /opt/llm-d-storage, in two layers: one changes rarely, one with every
commit.

lib        what the hooks and the evictor import (PYTHONPATH of the image), and themselves
connector  what the init container copies beside vLLM: the connector, and xxhash for every CPython that a vLLM image may
           carry (the extension modules' names differ, so they live in one folder)
bin        llmd-kv
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from image import base, debian, oci
from image.command import Run, Word, uv_command
from image.wheels import ROOT

FOLDER = "opt/llm-d-storage"
REQUIREMENTS = tuple(ROOT / "requirements" / name for name in ("image.txt", "connector.txt"))
MACHINES = {architecture: machine for machine, architecture in debian.MACHINES.items()}
ENGINE_PYTHONS = ("3.11", "3.12", "3.13", "3.14")
LLMD_KV = '#!/bin/sh\nexec python3 -m llmd_storage_evictor "$@"\n'
# The evictor reads the connector's files with the connector's own code.
PARTS = {"lib": ("core", "hooks", "evictor", "connector"), "connector": ("core", "connector")}


def config(architecture: str, *, created: str = "", labels: dict[str, str] | None = None) -> oci.Config:
    return oci.Config(
        command=("python3", "-m", "llmd_storage_hooks", "--help"),
        env={
            "PATH": f"/{FOLDER}/bin:{oci.DEFAULT_PATH}",
            "PYTHONPATH": f"/{FOLDER}/lib",
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        user="1000:1000",
        architecture=architecture,
        created=created,
        labels=labels or {},
    )


@dataclass(frozen=True, slots=True)
class Builder:
    """Fills the folders that become the image's layers. Each blocks for up to a minute.

    cache: keeps what comes from Debian; exact: as image/debian.lock names it, else the newest.
    """

    run: Run
    architecture: str
    cache: Path
    exact: bool = True

    def packages(self) -> list[Path]:
        return debian.fetch(self.run, self.architecture, self.cache, exact=self.exact)

    def base(self, root: Path) -> None:
        base.fill(self.run, self.packages(), self._python(), root)

    def dependencies(self, root: Path) -> None:
        image, connector = REQUIREMENTS
        folder, machine = root / FOLDER, MACHINES[self.architecture]
        self._install(folder / "lib", image, f"{machine}-manylinux_2_28", debian.PYTHON)
        for version in ENGINE_PYTHONS:
            one = root.with_name(f"connector-{version}")
            self._install(one, connector, f"{machine}-manylinux2014", version)
            shutil.copytree(one, folder / "connector", dirs_exist_ok=True)
        base.compile_python(self.run, self._python(), folder / "lib", root)

    def code(self, root: Path, wheels: Iterable[Path]) -> None:
        folder = root / FOLDER
        of = {file.name.split("-")[0].removeprefix("llm_d_storage_"): file for file in wheels}
        for part, packages in PARTS.items():
            for package in packages:
                with zipfile.ZipFile(of[package]) as wheel:
                    wheel.extractall(folder / part)
        (folder / "bin").mkdir()
        (folder / "bin/llmd-kv").write_text(LLMD_KV)
        (folder / "bin/llmd-kv").chmod(0o755)
        base.compile_python(self.run, self._python(), folder / "lib", root)

    def _python(self) -> Path:
        """One that this machine can run, whatever the image's architecture."""
        packages = debian.fetch(self.run, debian.native(), self.cache, exact=self.exact)
        return base.native_python(self.run, packages, self.cache)

    def _install(self, folder: Path, requirements: Path, platform: str, python: str) -> None:
        """Wheels of any platform, by their hashes, and without what depends on where they were put."""
        where: list[Word] = [
            "--target",
            folder,
            "--python-platform",
            platform,
            "--python-version",
            python,
            "--link-mode",
            "copy",
        ]
        what: list[Word] = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "-r", requirements]
        self.run([*uv_command(), "pip", "install", "--quiet", *where, *what])
        shutil.rmtree(folder / "bin", ignore_errors=True)  # they name the Python that installed them
        (folder / ".lock").unlink(missing_ok=True)
        for name in ("INSTALLER", "RECORD", "REQUESTED", "uv_cache.json"):
            for file in folder.glob(f"*.dist-info/{name}"):
                file.unlink()

"""The project's own packages as wheels, each for every architecture: the connector's has the native code of all."""

from __future__ import annotations

from pathlib import Path

from image.command import Run, Word, uv_command

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("core", "hooks", "connector", "evictor")
BUILD = ROOT / "requirements" / "build.txt"  # what they are built with, by hash


def build(run: Run, folder: Path, *, epoch: int = 0) -> list[Path]:
    """epoch: seconds; the times in the archives, where given (SOURCE_DATE_EPOCH)."""
    folder.mkdir(parents=True, exist_ok=True)
    env = {"SOURCE_DATE_EPOCH": str(epoch)} if epoch else {}
    how: list[Word] = ["--quiet", "--wheel", "--no-create-gitignore", "--build-constraints", BUILD, "--require-hashes"]
    for package in PACKAGES:
        run([*uv_command(), "build", *how, "--out-dir", folder, ROOT / package], env=env)
    return sorted(folder.glob("*.whl"))

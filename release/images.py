"""The project image of every platform, as one OCI image layout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from image import debian, layout, oci, project
from image.wheels import ROOT
from release.programs import run
from release.source import Source

NAME = "llm-d-storage"
PLATFORMS = tuple(sorted(debian.LOADERS))
CACHE = ROOT / "build" / "debian"  # packages by their digests, and the Python that compiles


@dataclass(frozen=True, slots=True)
class Images:
    """archives: by platform, each with all its layers."""

    archives: dict[str, Path]
    digest: str


def labels(source: Source) -> dict[str, str]:
    said = {
        "title": NAME,
        "description": "Hooks, evictor and connector of llm-d-storage",
        "licenses": "Apache-2.0",
        "version": source.version,
        "revision": source.commit,
        "created": source.created,
    }
    return {f"org.opencontainers.image.{key}": value for key, value in said.items()}


def build(source: Source, wheels: list[Path], work: Path, to: Path, say: Callable[[str], None]) -> Images:
    """work: an empty folder, for what is between; to: where the layout comes, which must not be there."""
    archives = {}
    for platform in PLATFORMS:
        say(f"image for {platform}: base, packages, code")
        folder = work / platform
        folder.mkdir()
        archives[platform] = _archive(source, platform, wheels, folder)
    say("image: compressing")
    digest = layout.write(to, archives.values(), source.version, labels(source))
    return Images(archives, digest)


def _archive(source: Source, platform: str, wheels: list[Path], work: Path) -> Path:
    """The layers one on the other, as the lab has them."""
    builder = project.Builder(run, platform, CACHE)
    fills: tuple[Callable[[Path], None], ...] = (
        builder.base,
        builder.dependencies,
        lambda root: builder.code(root, wheels),
    )
    config = project.config(platform, created=source.created, labels=labels(source))
    below: Path | None = None
    for number, fill in enumerate(fills):
        root = work / str(number) / "root"
        root.mkdir(parents=True)
        fill(root)
        archive = work / f"{number}.tar"
        oci.pack(root, archive, f"{NAME}:{source.version}", config, below)
        below = archive
    assert below is not None
    return below

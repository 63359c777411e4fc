"""A release from a commit: wheels, image, chart, list of parts, checksums, signature. Same commit, same bytes."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from image import wheels
from image.command import Word
from image.wheels import ROOT
from release import images, sbom, source, sums
from release.programs import ReleaseError, run

PACKER = ROOT / "charts" / "tools" / "package.py"
LAYOUT = "image"


def build(
    out: Path, *, helm: str, key: Path | None, allow_changes: bool = False, say: Callable[[str], None] = print
) -> None:
    """Replaces ``out`` once all is made. Blocks for minutes. Raises: ReleaseError, BaseError."""
    if shutil.which(helm) is None:
        raise ReleaseError(f"{helm} is not installed: --helm names a Helm, such as the lab's")
    of = source.read(allow_changes=allow_changes)
    say(f"llm-d-storage {of.version}, commit {of.commit[:12]} of {of.created}")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".release-") as tmp:
        work, new = Path(tmp) / "work", Path(tmp) / "out"
        work.mkdir()
        say("wheels")
        made = wheels.build(run, new / "wheels", epoch=of.epoch)
        built = images.build(of, made, work, new / LAYOUT, say)
        say("chart")
        chart = pack_chart(new, helm, of, built.digest)
        say("list of parts")
        (new / f"{images.NAME}-{of.version}.cdx.json").write_text(sbom.document(of, built, [*made, chart]))
        listed = sums.write(new)
        if key is not None:
            say("signature")
            sums.sign(listed, key)
        shutil.rmtree(out, ignore_errors=True)
        new.replace(out)
    say(f"image {built.digest}")
    if key is None:
        say("not signed: --key (RELEASE_KEY) names a key of ssh")


def pack_chart(folder: Path, helm: str, of: source.Source, digest: str) -> Path:
    """The chart, which says by its annotation which image was released with it."""
    pack: list[Word] = [sys.executable, PACKER, "--helm", helm, "--image-digest", digest, folder]
    run(pack, env={"SOURCE_DATE_EPOCH": str(of.epoch)})
    return folder / f"{images.NAME}-{of.version}.tgz"

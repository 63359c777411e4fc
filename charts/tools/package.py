"""Packs the chart, so that the same commit gives the same bytes on any machine.

usage: package.py [--helm HELM] [--image-digest sha256:...] DIR

Writes DIR/llm-d-storage-<version>.tgz and prints its SHA-256, which is what to sign. All times in the archive are
SOURCE_DATE_EPOCH; when that is not set, the time of the last commit that touched the chart. With --image-digest
the chart runs that image of the project unless a tag or a digest is set: an annotation of each Chart.yaml says so.
"""

import argparse
import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import yaml

CHART = Path(__file__).resolve().parents[1] / "llm-d-storage"
ANNOTATION = "llm-d-storage/image-digest"  # templates of the library chart read it


def epoch() -> int:
    """Seconds: SOURCE_DATE_EPOCH, or the chart's last commit."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    argv = ["git", "-C", str(CHART), "log", "-1", "--format=%ct", "--", "."]
    return int(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)


def repacked(archive: Path, when: int) -> bytes:
    """The same files sorted: Helm packs subcharts in an order that differs from run to run.

    Not compressed, since compressors differ from machine to machine; it is a few hundred KiB.
    """
    out = io.BytesIO()
    with (
        tarfile.open(archive) as old,
        gzip.GzipFile(fileobj=out, mode="wb", filename="", mtime=when, compresslevel=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as new,
    ):
        for member in sorted(old.getmembers(), key=lambda m: m.name):
            clean = tarfile.TarInfo(member.name)
            clean.size, clean.mode, clean.mtime = member.size, 0o644, when
            new.addfile(clean, old.extractfile(member))
    return out.getvalue()


def pinned(chart: Path, scratch: Path, digest: str) -> Path:
    """A copy of the chart whose every Chart.yaml names the image."""
    copy = shutil.copytree(chart, scratch / chart.name)
    for file in copy.rglob("Chart.yaml"):
        said = file.read_text()
        head = "annotations:\n"
        note = f"{head}  {ANNOTATION}: {digest}\n"
        file.write_text(said.replace(head, note, 1) if head in said else said.rstrip("\n") + f"\n{note}")
    return copy


def package(helm: str, folder: Path, digest: str = "") -> Path:
    """Helm checks the chart and chooses its files; order and times are ours."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    name = f"{chart['name']}-{chart['version']}.tgz"
    with tempfile.TemporaryDirectory() as scratch:
        source = pinned(CHART, Path(scratch), digest) if digest else CHART
        argv = [helm, "package", str(source), "--destination", scratch]
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(repacked(Path(scratch) / name, epoch()))
    return folder / name


def main(args: list[str]) -> int:
    form = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(prog="package.py", description=__doc__, formatter_class=form)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--helm", default="helm")
    parser.add_argument("--image-digest", default="", metavar="DIGEST")
    given = parser.parse_args(args)
    archive = package(given.helm, given.folder, given.image_digest)
    print(f"{hashlib.sha256(archive.read_bytes()).hexdigest()}  {archive}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

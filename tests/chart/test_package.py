"""The packed chart: the same bytes from the same sources, and nothing in it that users do not need."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
from pathlib import Path

from tests.chart import helm
from tests.lab.paths import lab

TOOL = helm.CHART.parent / "tools" / "package.py"


def packed(folder: Path, epoch: str) -> Path:
    argv = [sys.executable, TOOL, "--helm", lab().bin / "helm", folder]
    env = os.environ | {"SOURCE_DATE_EPOCH": epoch}
    done = subprocess.run(argv, capture_output=True, text=True, check=True, env=env)
    digest, path = done.stdout.split()
    assert hashlib.sha256(Path(path).read_bytes()).hexdigest() == digest
    return Path(path)


def test_two_packages_are_equal_to_the_byte(tmp_path: Path) -> None:
    """Who rebuilds a release can tell that it is what the sources give."""
    one = packed(tmp_path / "a", "1700000000")
    for again in "bcde":  # Helm's own order of subcharts differs now and then, not always
        assert one.read_bytes() == packed(tmp_path / again, "1700000000").read_bytes()
    assert one.read_bytes() != packed(tmp_path / "f", "1700000001").read_bytes()
    with tarfile.open(one) as archive:
        assert {member.mtime for member in archive.getmembers()} == {1700000000}


def test_a_package_installs_what_the_checkout_does(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a", "1")
    with tarfile.open(archive) as opened:
        assert not [name for name in opened.getnames() if "/ci/" in name]
    args = ("-n", helm.NAMESPACE, "-f", helm.scenario_file("lab"))
    done = helm.helm("template", helm.RELEASE, archive, *args)
    assert done.stdout == helm.rendered("lab")

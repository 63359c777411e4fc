"""`python -m release push` into a real registry: what is there is what was built, for both platforms."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from image import layout, oci
from tests.chart import helm
from tests.chart.test_package import packed
from tests.lab.gotools import CRANE
from tests.lab.paths import REPO, helm_program, lab
from tests.patience import CEILING_S


def archive(folder: Path, architecture: str) -> Path:
    """A small image: what is in one does not matter to a registry."""
    root = folder / architecture
    root.mkdir(parents=True)
    (root / "file").write_text(architecture)
    oci.pack(root, folder / f"{architecture}.tar", "x", oci.Config(architecture=architecture))
    return folder / f"{architecture}.tar"


@pytest.fixture
def release(tmp_path: Path) -> tuple[Path, str]:
    """A release's folder with image and chart, and the image's digest."""
    archives = [archive(tmp_path / "archives", one) for one in ("amd64", "arm64")]
    digest = layout.write(tmp_path / "release" / "image", archives, "0.1.0", {})
    packed(tmp_path / "release", "1", "--image-digest", digest)
    return tmp_path / "release", digest


def call(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"CRANE": str(crane()), "HELM": str(helm_program())}
    words = list(map(str, argv))
    return subprocess.run(words, cwd=REPO, env=env, capture_output=True, text=True, timeout=CEILING_S, check=False)


def crane() -> Path:
    return lab().bin / CRANE.program


def push(folder: Path, registry: str) -> subprocess.CompletedProcess[str]:
    return call(sys.executable, "-m", "release", "push", registry, "--plain-http", "--from", folder)


def test_image_and_chart_come_back_as_they_were_built(release: tuple[Path, str], registry: str, tmp_path: Path) -> None:
    folder, digest = release
    done = push(folder, f"{registry}/llm")
    assert done.returncode == 0, done.stderr
    name = f"{registry}/llm/llm-d-storage:0.1.0"
    assert call(crane(), "digest", "--insecure", name).stdout.strip() == digest
    index = json.loads(call(crane(), "manifest", "--insecure", name).stdout)
    for one in index["manifests"]:
        platform = f"linux/{one['platform']['architecture']}"
        valid = call(crane(), "validate", "--insecure", "--platform", platform, "--remote", name)
        assert valid.returncode == 0, valid.stderr
    # The last line is what a user types: with the registry of the image in it, it renders.
    (install,) = [line for line in done.stdout.splitlines() if line.startswith("helm install")]
    words = [str(helm.scenario_file("lab")) if word == "my-values.yaml" else word for word in install.split()[2:]]
    shown = helm.helm("template", "--plain-http", *words)
    assert f'image: "{registry}/llm/llm-d-storage@{digest}"' in shown.stdout, shown.stderr


def test_a_folder_without_a_release_is_refused_in_a_sentence(tmp_path: Path, registry: str) -> None:
    done = push(tmp_path, registry)
    assert (done.returncode, done.stderr) == (1, f"there is no release in {tmp_path}: run `make release` first\n")

"""A person would lose: an image that registries take on every platform, and whose rebuild can be compared."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import pytest

from image import layout, oci

CONFIG = {one: oci.Config(architecture=one, created="2026-01-01T00:00:00Z") for one in ("amd64", "arm64")}


def built(folder: Path, *, mode: int = 0o755) -> tuple[Path, str]:
    """Two platforms with one layer in common."""
    archives = []
    for architecture, config in CONFIG.items():
        below = folder / architecture / "base.tar"
        _pack(folder / architecture / "base", below, architecture, config, None, mode)
        top = folder / architecture / "top.tar"
        _pack(folder / architecture / "top", top, "the same code", config, below, mode)
        archives.append(top)
    return folder / "out", layout.write(folder / "out", archives, "1.2.3", {"title": "x"})


def _pack(root: Path, to: Path, text: str, config: oci.Config, below: Path | None, mode: int) -> None:
    root.mkdir(parents=True, mode=mode)
    (root / "file").write_text(text)
    (root / "file").chmod(mode)
    oci.pack(root, to, "x", config, below)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    return built(tmp_path_factory.mktemp("layout"))


def blob(folder: Path, digest: str) -> bytes:
    return (folder / "blobs/sha256" / digest.removeprefix("sha256:")).read_bytes()


def test_one_name_stands_for_both_platforms(image: tuple[Path, str]) -> None:
    folder, digest = image
    assert json.loads((folder / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    (named,) = json.loads((folder / "index.json").read_text())["manifests"]
    assert named["digest"] == digest
    assert named["annotations"] == {"org.opencontainers.image.ref.name": "1.2.3"}
    index = json.loads(blob(folder, digest))
    assert index["annotations"] == {"title": "x"}
    assert [one["platform"] for one in index["manifests"]] == [
        {"architecture": "amd64", "os": "linux"},
        {"architecture": "arm64", "os": "linux"},
    ]


def test_every_file_is_named_by_its_digest_and_none_is_left_over(image: tuple[Path, str]) -> None:
    folder, digest = image
    named = {digest}
    for one in json.loads(blob(folder, digest))["manifests"]:
        manifest = json.loads(blob(folder, one["digest"]))
        named |= {one["digest"], manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])}
    found = {f"sha256:{file.name}" for file in (folder / "blobs/sha256").iterdir()}
    assert found == named
    assert all("sha256:" + hashlib.sha256(blob(folder, one)).hexdigest() == one for one in found)
    assert len(found) == 1 + 2 * 2 + 3  # what both platforms have in common is there once


def test_layers_are_compressed_and_the_configuration_names_what_is_in_them(image: tuple[Path, str]) -> None:
    folder, digest = image
    for one in json.loads(blob(folder, digest))["manifests"]:
        manifest = json.loads(blob(folder, one["digest"]))
        config = json.loads(blob(folder, manifest["config"]["digest"]))
        assert config["architecture"] == one["platform"]["architecture"]
        assert config["created"] == "2026-01-01T00:00:00Z"
        for layer, plain in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True):
            packed = blob(folder, layer["digest"])
            assert layer["size"] == len(packed) and layer["mediaType"].endswith("tar+gzip")
            assert packed[4:8] == bytes(4), "gzip's time"
            assert "sha256:" + hashlib.sha256(gzip.decompress(packed)).hexdigest() == plain


def test_another_umask_on_another_day_gives_the_same_bytes(image: tuple[Path, str], tmp_path: Path) -> None:
    again, digest = built(tmp_path, mode=0o700)
    assert digest == image[1]
    assert (again / "index.json").read_bytes() == (image[0] / "index.json").read_bytes()

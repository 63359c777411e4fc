"""A person would lose: images that a container runtime accepts, and reloads only of what changed."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path

import pytest

from image import oci


@pytest.fixture
def root(tmp_path: Path) -> Path:
    r = tmp_path / "root"
    (r / "bin").mkdir(parents=True)
    (r / "bin" / "tool").write_text("#!/bin/sh\n")
    (r / "bin" / "tool").chmod(0o755)
    (r / "bin" / "link").symlink_to("tool")
    return r


def blobs(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as t:
        return {m.name: f.read() for m in t.getmembers() if (f := t.extractfile(m))}


def test_every_blob_is_named_by_its_digest(root: Path, tmp_path: Path) -> None:
    oci.pack(root, tmp_path / "x.tar", "localhost/x:1", oci.Config(("/bin/tool",)))
    for name, data in blobs(tmp_path / "x.tar").items():
        if name.startswith("blobs/sha256/"):
            assert hashlib.sha256(data).hexdigest() == name.rpartition("/")[2]


def test_the_config_carries_environment_entrypoint_and_user(root: Path, tmp_path: Path) -> None:
    config = oci.Config(("/bin/tool",), ("-v",), {"PATH": "/x", "A": "b"}, "1000:1000")
    image = oci.pack(root, tmp_path / "x.tar", "localhost/x:1", config)
    files = blobs(tmp_path / "x.tar")
    index = json.loads(files["index.json"])
    assert index["manifests"][0]["digest"] == image.digest
    assert index["manifests"][0]["annotations"]["io.containerd.image.name"] == "localhost/x:1"
    manifest = json.loads(files["blobs/sha256/" + image.digest.removeprefix("sha256:")])
    inner = json.loads(files["blobs/sha256/" + manifest["config"]["digest"].removeprefix("sha256:")])
    assert inner["config"] == {
        "Env": ["PATH=/x", "A=b"],
        "Entrypoint": ["/bin/tool"],
        "Cmd": ["-v"],
        "User": "1000:1000",
    }
    assert inner["rootfs"]["diff_ids"] == [image.layers[0].digest]


def test_the_same_folder_gives_the_same_bytes_whatever_its_times(root: Path, tmp_path: Path) -> None:
    a = oci.pack(root, tmp_path / "a.tar", "localhost/x:1", oci.Config())
    (root / "bin" / "tool").touch()
    b = oci.pack(root, tmp_path / "b.tar", "localhost/x:1", oci.Config())
    assert a == b
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_a_changed_file_changes_the_digest(root: Path, tmp_path: Path) -> None:
    a = oci.pack(root, tmp_path / "a.tar", "localhost/x:1", oci.Config())
    (root / "bin" / "tool").write_text("#!/bin/sh\necho\n")
    assert oci.pack(root, tmp_path / "b.tar", "localhost/x:1", oci.Config()).digest != a.digest


def test_layers_stack_and_the_chain_id_follows_the_image_specification(root: Path, tmp_path: Path) -> None:
    below = oci.pack(root, tmp_path / "base.tar", "localhost/base:1", oci.Config())
    top = tmp_path / "top"
    top.mkdir()
    (top / "more").write_text("x")
    image = oci.pack(top, tmp_path / "x.tar", "localhost/x:1", oci.Config(), base=tmp_path / "base.tar")
    assert image.layers[0] == below.layers[0]
    assert below.chain_id == below.layers[0].digest
    both = f"{image.layers[0].digest} {image.layers[1].digest}"
    assert image.chain_id == "sha256:" + hashlib.sha256(both.encode()).hexdigest()
    assert oci.read(tmp_path / "x.tar") == image
    assert "blobs/sha256/" + below.layers[0].digest.removeprefix("sha256:") in blobs(tmp_path / "x.tar")


def test_files_belong_to_root_and_keep_their_mode(root: Path, tmp_path: Path) -> None:
    image = oci.pack(root, tmp_path / "x.tar", "localhost/x:1", oci.Config())
    layer = tmp_path / "layer.tar"
    layer.write_bytes(blobs(tmp_path / "x.tar")["blobs/sha256/" + image.layers[0].digest.removeprefix("sha256:")])
    with tarfile.open(layer) as t:
        tool = t.getmember("./bin/tool")
        assert (tool.uid, tool.gid, tool.mode, tool.mtime) == (0, 0, 0o755, 0)
        assert t.getmember("./bin/link").linkname == "tool"


def test_nothing_is_left_beside_the_archive(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    oci.pack(root, out / "x.tar", "localhost/x:1", oci.Config())
    assert [p.name for p in out.iterdir()] == ["x.tar"]


def test_a_thin_archive_names_the_layers_below_and_holds_only_its_own(root: Path, tmp_path: Path) -> None:
    below = oci.pack(root, tmp_path / "base.tar", "localhost/base:1", oci.Config())
    top = tmp_path / "top"
    top.mkdir()
    base = tmp_path / "base.tar"
    full = oci.pack(top, tmp_path / "full.tar", "localhost/x:1", oci.Config(), base=base)
    thin = oci.pack(top, tmp_path / "thin.tar", "localhost/x:1", oci.Config(), base=base, thin=True)
    assert thin == full
    lower = "blobs/sha256/" + below.layers[0].digest.removeprefix("sha256:")
    assert lower in blobs(tmp_path / "full.tar") and lower not in blobs(tmp_path / "thin.tar")

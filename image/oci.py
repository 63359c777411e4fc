"""Packs folders as layers of OCI image archives, without an image builder.

The same folder and config always give the same bytes, so an image's digest says whether it changed. A layer is
a plain tar: an archive never leaves the machine, and compressing it would cost more than it saves. What is published
is made from archives by ``image.layout``.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from image.digests import sha256_of

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True, slots=True)
class Config:
    """What a container of the image starts with, unless the pod says otherwise; and what is said of the image."""

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    user: str = ""
    architecture: str = "amd64"
    created: str = ""  # RFC 3339
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Layer:
    digest: str  # sha256:...; of the plain tar, so it is the diff id too
    size: int


@dataclass(frozen=True, slots=True)
class Image:
    """An image in an archive: its name, its manifest's digest and its layers from the bottom."""

    name: str
    digest: str
    layers: tuple[Layer, ...]

    @property
    def chain_id(self) -> str:
        """The name under which a snapshotter keeps the unpacked top layer."""
        chain = self.layers[0].digest
        for layer in self.layers[1:]:
            chain = "sha256:" + hashlib.sha256(f"{chain} {layer.digest}".encode()).hexdigest()
        return chain


def _plain(ti: tarfile.TarInfo) -> tarfile.TarInfo:
    """Owner, time and the builder's umask out of the way: they differ from build to build and mean nothing in an image.

    Everybody may read, and run what its owner may; only folders such as /tmp are for everybody to write.
    """
    ti.uid = ti.gid = 0
    ti.uname = ti.gname = "root"
    ti.mtime = 0
    if not ti.issym() and not ti.mode & 0o1000:
        ti.mode = 0o755 if ti.isdir() or ti.mode & 0o100 else 0o644
    return ti


def blob_path(digest: str) -> str:
    return "blobs/sha256/" + digest.removeprefix("sha256:")


def _pack_layer(root: Path, to: Path) -> Layer:
    with tarfile.open(to, "w", format=tarfile.PAX_FORMAT) as t:
        t.add(root, arcname=".", filter=_plain)  # walks a folder in sorted order
    return Layer("sha256:" + sha256_of(to), to.stat().st_size)


def _add(tar: tarfile.TarFile, path: str, size: int, data: IO[bytes]) -> None:
    ti = tarfile.TarInfo(path)
    ti.size = size
    tar.addfile(ti, data)


def encoded(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def described(media_type: str, data: bytes) -> dict[str, Any]:
    """A blob's descriptor."""
    return {"mediaType": media_type, "digest": "sha256:" + hashlib.sha256(data).hexdigest(), "size": len(data)}


def member(archive: tarfile.TarFile, path: str) -> IO[bytes]:
    """A file of an image archive. Raises: KeyError, or ValueError where it is none, when it is not there."""
    found = archive.extractfile(path)
    if found is None:
        raise ValueError(f"{archive.name!s} is no image archive: it lacks {path}")
    return found


def _blob(blobs: dict[str, bytes], media_type: str, value: Any) -> dict[str, Any]:
    data = encoded(value)
    blob = described(media_type, data)
    blobs[blob["digest"]] = data
    return blob


def _container_config(config: Config) -> dict[str, Any]:
    env = {"PATH": DEFAULT_PATH, **config.env}
    out: dict[str, Any] = {"Env": [f"{k}={v}" for k, v in env.items()]}
    if config.entrypoint:
        out["Entrypoint"] = list(config.entrypoint)
    if config.command:
        out["Cmd"] = list(config.command)
    if config.user:
        out["User"] = config.user
    if config.labels:
        out["Labels"] = config.labels
    return out


def pack(
    root: Path, archive: Path, name: str, config: Config, base: Path | None = None, *, thin: bool = False
) -> Image:
    """Writes ``archive``: the layers of the archive ``base``, if one is given, and ``root`` on top of them.

    A ``thin`` archive names the layers of ``base`` without holding them: it can be loaded only where ``base`` was
    loaded before, and then in a moment.
    """
    top_file = archive.with_name(archive.name + ".layer")
    new = archive.with_name(archive.name + ".new")
    try:
        below = read(base).layers if base else ()
        image_layers = (*below, _pack_layer(root, top_file))
        blobs: dict[str, bytes] = {}
        image_config = _blob(
            blobs,
            CONFIG_TYPE,
            {
                **({"created": config.created} if config.created else {}),
                "architecture": config.architecture,
                "os": "linux",
                "config": _container_config(config),
                "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in image_layers]},
            },
        )
        layers = [{"mediaType": LAYER_TYPE, "digest": x.digest, "size": x.size} for x in image_layers]
        manifest = _blob(
            blobs,
            MANIFEST_TYPE,
            {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": image_config, "layers": layers},
        )
        annotations = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}
        index = {"schemaVersion": 2, "manifests": [{**manifest, "annotations": annotations}]}
        with tarfile.open(new, "w") as out:
            for path, value in (("oci-layout", {"imageLayoutVersion": "1.0.0"}), ("index.json", index)):
                data = encoded(value)
                _add(out, path, len(data), io.BytesIO(data))
            for digest, data in blobs.items():
                _add(out, blob_path(digest), len(data), io.BytesIO(data))
            if not thin:
                _copy_layers(base, below, out)
            with top_file.open("rb") as f:
                _add(out, blob_path(image_layers[-1].digest), image_layers[-1].size, f)
        new.replace(archive)
    finally:
        top_file.unlink(missing_ok=True)
        new.unlink(missing_ok=True)
    return Image(name, manifest["digest"], image_layers)


def _copy_layers(base: Path | None, layers: tuple[Layer, ...], out: tarfile.TarFile) -> None:
    if base is None:
        return
    with tarfile.open(base) as t:
        for layer in layers:
            _add(out, blob_path(layer.digest), layer.size, member(t, blob_path(layer.digest)))


def read(archive: Path) -> Image:
    """What ``pack`` wrote into ``archive``."""
    with tarfile.open(archive) as t:
        entry = json.load(member(t, "index.json"))["manifests"][0]
        manifest = json.load(member(t, blob_path(entry["digest"])))
        layers = tuple(Layer(x["digest"], x["size"]) for x in manifest["layers"])
        return Image(entry["annotations"]["io.containerd.image.name"], entry["digest"], layers)

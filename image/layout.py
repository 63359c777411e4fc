"""Image archives as an OCI image layout: one image of several platforms, as registries and their tools take it.

https://github.com/opencontainers/image-spec/blob/main/image-layout.md
"""

from __future__ import annotations

import json
import subprocess
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from image import oci
from image.digests import sha256_of

INDEX_TYPE = "application/vnd.oci.image.index.v1+json"


def write(folder: Path, archives: Iterable[Path], tag: str, annotations: Mapping[str, str]) -> str:
    """Writes the layout into ``folder``, which must not be there. Returns: the digest of the image of all platforms."""
    folder.mkdir(parents=True)
    (folder / "blobs/sha256").mkdir(parents=True)
    index = {
        "schemaVersion": 2,
        "mediaType": INDEX_TYPE,
        "manifests": [_platform(folder, archive) for archive in archives],
        "annotations": dict(annotations),
    }
    described = _put(folder, INDEX_TYPE, index)
    named = {**described, "annotations": {"org.opencontainers.image.ref.name": tag}}
    _write_json(folder / "index.json", {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [named]})
    _write_json(folder / "oci-layout", {"imageLayoutVersion": "1.0.0"})
    return str(described["digest"])


def _platform(folder: Path, archive: Path) -> dict[str, Any]:
    """One platform's image, its layers compressed; its configuration, which names the plain ones, is the archive's."""
    with tarfile.open(archive) as opened:

        def load(path: str) -> Any:
            return json.load(oci.member(opened, path))

        manifest = load(oci.blob_path(load("index.json")["manifests"][0]["digest"]))
        config = load(oci.blob_path(manifest["config"]["digest"]))
        layers = [_compressed(folder, opened, oci.blob_path(layer["digest"])) for layer in manifest["layers"]]
    described = _put(
        folder,
        oci.MANIFEST_TYPE,
        {**manifest, "config": _put(folder, oci.CONFIG_TYPE, config), "layers": layers},
    )
    return {**described, "platform": {"architecture": config["architecture"], "os": config["os"]}}


def _compressed(folder: Path, archive: tarfile.TarFile, path: str) -> dict[str, Any]:
    """By gzip the program: it gives the same bytes everywhere, and Python's zlib differs from machine to machine."""
    new = folder / "blobs/sha256/.new"
    with new.open("wb") as out, subprocess.Popen(["gzip", "-n"], stdin=subprocess.PIPE, stdout=out) as gzip:
        assert gzip.stdin is not None
        source = oci.member(archive, path)
        while piece := source.read(1 << 20):
            gzip.stdin.write(piece)
        gzip.stdin.close()
    if gzip.returncode:
        raise ValueError(f"gzip ended with exit code {gzip.returncode}: is there room below {folder}?")
    digest = f"sha256:{sha256_of(new)}"
    size = new.stat().st_size
    new.replace(folder / oci.blob_path(digest))
    return {"mediaType": f"{oci.LAYER_TYPE}+gzip", "digest": digest, "size": size}


def _put(folder: Path, media_type: str, value: Any) -> dict[str, Any]:
    data = oci.encoded(value)
    described = oci.described(media_type, data)
    (folder / oci.blob_path(described["digest"])).write_bytes(data)
    return described


def _write_json(file: Path, value: Any) -> None:
    file.write_bytes(oci.encoded(value))

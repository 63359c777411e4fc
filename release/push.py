"""A release into a registry: the image by crane, the chart by Helm, both as they were built, to the byte."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from release.build import LAYOUT
from release.images import NAME
from release.programs import ReleaseError, output, run


def push(
    folder: Path,
    registry: str,
    *,
    crane: str = "crane",
    helm: str = "helm",
    plain_http: bool = False,
    say: Callable[[str], None] = print,
) -> None:
    """registry: host and path, such as registry.example.com/llm; the chart comes below its `charts`.

    Credentials are those of `docker login` or `helm registry login`. Raises: ReleaseError.
    """
    index, chart = folder / LAYOUT / "index.json", next(folder.glob(f"{NAME}-*.tgz"), None)
    if not index.exists() or chart is None:
        raise ReleaseError(f"there is no release in {folder}: run `make release` first")
    (described,) = json.loads(index.read_text())["manifests"]
    version = described["annotations"]["org.opencontainers.image.ref.name"]
    name = f"{registry}/{NAME}:{version}"
    insecure = ["--insecure"] if plain_http else []
    say(f"image to {name}")
    run([crane, "push", folder / LAYOUT, name, *insecure])
    there = output([crane, "digest", name, *insecure]).strip()
    if there != described["digest"]:
        raise ReleaseError(f"{name} is {there} in the registry, and {described['digest']} was pushed")
    say(f"chart to oci://{registry}/charts")
    run([helm, "push", chart, f"oci://{registry}/charts", *(["--plain-http"] if plain_http else [])])
    say(
        f"helm install cache oci://{registry}/charts/{NAME} --version {version} "
        f"--set global.image.registry={registry} -f my-values.yaml"
    )

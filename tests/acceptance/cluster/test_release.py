"""A release, published: pushed to a real registry, installed from there, its image pulled by the nodes' containerd."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from image import debian, oci
from tests.acceptance.test_release import made
from tests.cluster.harness import HELM_S, LAB_VALUES, ROOT, Cluster
from tests.lab import images, registry
from tests.lab.gotools import CRANE
from tests.lab.paths import helm_program, lab
from tests.lab.proc import Console, output
from tests.patience import CEILING_S

pytestmark = pytest.mark.cluster
NAMESPACE, RELEASE = "llmd-test-release", "cache"
POD_IMAGE = re.compile(rf"{registry.ON_NODES}/llm-d-storage@sha256:[0-9a-f]{{64}}")


@pytest.fixture(scope="module")
def pushed(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """host:port, on this machine, of a registry that has the release; the nodes have it as ``registry.ON_NODES``."""
    released, the_lab = made(tmp_path_factory.mktemp("release") / "out"), lab()
    registry.end(the_lab)  # what a killed run left
    try:
        registry.begin(Console(the_lab.log / "registry.log"), the_lab)
        with registry.serving(the_lab, registry.store(the_lab)) as address:
            push(released, address)
            yield address
    finally:
        registry.end(the_lab)


def push(released: Path, address: str) -> None:
    argv = [sys.executable, "-m", "release", "push", address, "--plain-http", "--from", str(released)]
    programs = {"CRANE": str(lab().bin / CRANE.program), "HELM": str(helm_program())}
    done = subprocess.run(
        argv, cwd=ROOT, env=os.environ | programs, capture_output=True, text=True, timeout=CEILING_S, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_release_is_installed_from_a_registry_and_proven(cluster: Cluster, pushed: str) -> None:
    """A stranger would lose: the one command of the README, without a checkout and without an image of their own."""
    cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found").ok()
    cluster.namespace(NAMESPACE)
    try:
        cluster.helm(
            *("install", RELEASE, f"oci://{pushed}/charts/llm-d-storage", "--version", "0.1.0", "--plain-http"),
            *("-n", NAMESPACE, "-f", str(LAB_VALUES), "--set", f"global.image.registry={registry.ON_NODES}"),
            *("--timeout", f"{HELM_S:.0f}s"),
        ).ok()
        pods = cluster.get("pods", "-n", NAMESPACE)["items"]
        ran = {c["image"] for pod in pods for c in containers(pod) if "/llm-d-storage" in c["image"]}
        assert ran and all(POD_IMAGE.fullmatch(image) for image in ran), ran
        events = json.dumps(cluster.get("events", "-n", NAMESPACE))
        assert f'Successfully pulled image \\"{next(iter(ran))}' in events
        report = cluster.get("configmap", f"{RELEASE}-storage-report", "-n", NAMESPACE)["data"]
        assert json.loads(report["proof.json"])["verdict"] in ("pass", "warn")
    finally:
        cluster.helm("uninstall", RELEASE, "-n", NAMESPACE, "--ignore-not-found")
        cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found").ok()


def test_what_is_released_is_what_the_cluster_tests_run(pushed: str) -> None:
    """The lab's image and the released one have the same layers, before compression."""
    the_lab = lab()
    name = f"{pushed}/llm-d-storage:0.1.0"
    argv = [the_lab.bin / CRANE.program, "config", "--insecure", "--platform", f"linux/{debian.native()}", name]
    released = json.loads(output(argv))["rootfs"]["diff_ids"]
    assert [layer.digest for layer in oci.read(images.archive(the_lab, "project")).layers] == released


def containers(pod: dict) -> list[dict]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]

"""The packed chart: the same bytes from the same sources, and nothing in it that users do not need."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
from pathlib import Path

from tests.chart import helm
from tests.lab.paths import helm_program

TOOL = helm.CHART.parent / "tools" / "package.py"


IMAGE = "sha256:" + "5" * 64


def packed(folder: Path, epoch: str, *options: str) -> Path:
    argv = [sys.executable, TOOL, "--helm", helm_program(), *options, folder]
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


def project_images(archive: Path, *settings: str) -> set[str]:
    done = helm.helm("template", helm.RELEASE, archive, "-f", helm.scenario_file("lab"), *settings)
    assert done.returncode == 0, done.stderr
    pods = [pod for _, pod in helm.pod_specs(helm.load_yaml(done.stdout))]
    images = {c["image"] for pod in pods for c in [*pod.get("initContainers", []), *pod["containers"]]}
    return {image for image in images if "/llm-d-storage" in image}


def test_a_released_chart_runs_the_image_that_was_released_with_it(tmp_path: Path) -> None:
    """A tag can be moved; and who has built an image of their own can still say so."""
    archive = packed(tmp_path, "1", "--image-digest", IMAGE)
    assert project_images(archive) == {f"localhost/llm-d-storage@{IMAGE}"}
    assert project_images(archive, "--set", "global.image.tag=mine") == {"localhost/llm-d-storage:mine"}
    other = "sha256:" + "6" * 64
    assert project_images(archive, "--set", f"global.image.digest={other}") == {f"localhost/llm-d-storage@{other}"}


def test_what_a_registry_gives_back_is_what_was_packed(tmp_path: Path, registry: str) -> None:
    """`helm install oci://…` installs the package, to the byte, and what the checkout renders."""
    archive = packed(tmp_path / "a", "1700000000")
    pushed = helm.helm("push", archive, f"oci://{registry}/charts", "--plain-http")
    assert pushed.returncode == 0, pushed.stderr
    where = (f"oci://{registry}/charts/llm-d-storage", "--version", "0.1.0", "--plain-http")
    pulled = helm.helm("pull", *where, "-d", tmp_path)
    assert pulled.returncode == 0, pulled.stderr
    assert (tmp_path / archive.name).read_bytes() == archive.read_bytes()
    args = ("-n", helm.NAMESPACE, "-f", helm.scenario_file("lab"))
    assert helm.helm("template", helm.RELEASE, *where, *args).stdout == helm.rendered("lab")
    assert helm.helm("pull", where[0], "--version", "9.9.9", "--plain-http", "-d", tmp_path).returncode != 0


def test_what_a_catalogue_shows_is_true() -> None:
    """Artifact Hub reads these notes; the images are those that the chart's defaults run."""
    notes = helm.load_yaml((helm.CHART / "Chart.yaml").read_text())[0]["annotations"]
    assert {"artifacthub.io/license", "artifacthub.io/category", "artifacthub.io/prerelease"} <= notes.keys()
    (shown,) = helm.load_yaml(notes["artifacthub.io/images"])
    used = {c["image"] for _, pod in helm.pod_specs(helm.objects("service")) for c in pod["containers"]}
    used |= {c["image"] for _, pod in helm.pod_specs(helm.objects("tiered-router")) for c in pod["containers"]}
    foreign = {image for image in used if "/llm-d-storage:" not in image}
    assert {one["image"].removeprefix("docker.io/") for one in shown} == foreign


def test_a_catalogue_can_say_whose_chart_it_is() -> None:
    chart = helm.load_yaml((helm.CHART / "Chart.yaml").read_text())[0]
    assert chart["home"] and chart["sources"] and chart["icon"].startswith("data:image/svg+xml")
    assert all(one.keys() == {"name"} for one in chart["maintainers"]), "an organisation, no person's address"
    assert chart["kubeVersion"] == ">=1.31.0-0"

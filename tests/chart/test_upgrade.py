"""From one version of the chart to the next: nothing that Kubernetes cannot change, no claim under another name."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart import helm

NEXT = "97.98.99"


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chart and its subcharts under another version, and nothing else changed."""
    made = tmp_path_factory.mktemp("later") / helm.CHART.name
    shutil.copytree(helm.CHART, made)
    version = yaml.safe_load((made / "Chart.yaml").read_text())["version"]
    for path in made.rglob("Chart.yaml"):
        path.write_text(path.read_text().replace(version, NEXT))
    return made


def fixed(obj: dict[str, Any]) -> Any:
    """What the API server refuses to change in an object that is there."""
    spec = obj.get("spec", {})
    match obj["kind"]:
        case "Deployment":
            return spec["selector"]
        case "PersistentVolumeClaim":
            return {k: v for k, v in spec.items() if k != "resources"}
        case "PersistentVolume":
            return spec
        case "StorageClass":
            return {k: v for k, v in obj.items() if k != "metadata"}
        case "RoleBinding" | "ClusterRoleBinding":
            return obj["roleRef"]
        case "Service":
            return spec.get("clusterIP")
        case _:
            return None


def known(objs: list[dict[str, Any]]) -> dict[tuple[str, str, str], Any]:
    return {(o["apiVersion"], o["kind"], o["metadata"]["name"]): fixed(o) for o in objs}


@pytest.mark.parametrize("scenario", helm.SCENARIOS)
def test_another_version_renames_and_replaces_nothing(scenario: str, later: Path) -> None:
    """Else `helm upgrade` is refused ("field is immutable"), or the pods begin with an empty claim."""
    args = ("template", helm.RELEASE, later, "-n", helm.NAMESPACE, "-f", helm.scenario_file(scenario))
    done = helm.helm(*args)
    assert done.returncode == 0, done.stderr
    objs = helm.load_yaml(done.stdout)
    assert known(objs) == known(helm.objects(scenario))
    assert any(NEXT in str(o["metadata"].get("labels")) for o in objs), "the version is in no label: is it another?"


@pytest.mark.parametrize("scenario", ["default", "lab"])
def test_a_version_of_the_chart_alone_restarts_no_pod(scenario: str, later: Path) -> None:
    """A model server takes minutes to load its model; what is in the pods decides, not the label of the chart."""
    image = ("--set", "global.image.tag=0.1.0")
    args = ("template", helm.RELEASE, later, "-n", helm.NAMESPACE, "-f", helm.scenario_file(scenario), *image)
    now, then = (
        {o["metadata"]["name"]: o["spec"]["template"] for o in objs if o["kind"] == "Deployment"}
        for objs in (helm.objects(scenario, *image), helm.load_yaml(helm.helm(*args).stdout))
    )
    assert then == now and len(now) > 1


def test_the_claim_has_the_name_that_it_had_in_0_1() -> None:
    """The one name that no version may change: the blocks are behind it."""
    assert helm.one(helm.objects("default"), "PersistentVolumeClaim", "")["metadata"]["name"] == "kv-kv-cache"
    assert helm.one(helm.objects("lab", release="cache"), "PersistentVolumeClaim", "")["metadata"]["name"] == (
        "cache-kv-cache"
    )
    server = helm.one(helm.objects("default"), "Deployment", "-modelserver")
    assert "/mnt/kv-cache/blocks" in str(server), "the folder of the blocks on it"

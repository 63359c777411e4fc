"""Each subchart is whole: it renders alone, with its own values, schema and rules, as its README says."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from tests.chart import helm, schemas

NAMES = ("storage", "modelserver", "inferencepool", "gateway")
# What each makes of its own defaults.
KINDS = {
    "storage": {"PersistentVolumeClaim"},
    "modelserver": {"Deployment", "Service", "PodDisruptionBudget"},
    "inferencepool": {
        "InferencePool",
        "ConfigMap",
        "Deployment",
        "Service",
        "ServiceAccount",
        "Role",
        "RoleBinding",
    },
    "gateway": {"Gateway", "HTTPRoute", "DestinationRule", "ConfigMap"},
}


@pytest.fixture(scope="module")
def charts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the subcharts, each with its library beside it."""
    folder = tmp_path_factory.mktemp("charts") / "charts"
    shutil.copytree(helm.CHART / "charts", folder)
    for name in NAMES:
        done = helm.helm("dependency", "build", folder / name)
        assert done.returncode == 0, done.stderr
    return folder


def blocks(name: str, language: str) -> list[str]:
    text = (helm.CHART / "charts" / name / "README.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("name", NAMES)
def test_it_makes_valid_objects_alone(charts: Path, name: str) -> None:
    done = helm.helm("template", helm.RELEASE, charts / name, *helm.REGISTRY, "-n", helm.NAMESPACE)
    assert done.returncode == 0, done.stderr
    objects = helm.load_yaml(done.stdout)
    assert {o["kind"] for o in objects} == KINDS[name]
    for obj in objects:
        assert not schemas.problems(obj, "1.36"), (obj["kind"], obj["metadata"]["name"])
    together = {(o["kind"], o["metadata"]["name"]): o for o in helm.objects("default")}
    for obj in objects:
        assert together[obj["kind"], obj["metadata"]["name"]] == obj, "another object than as a part"


@pytest.mark.parametrize("name", NAMES)
def test_its_readme_is_true(charts: Path, name: str) -> None:
    """Its commands, with its example as the values."""
    (example,), (commands,) = blocks(name, "yaml"), blocks(name, "sh")
    values = charts / f"{name}-values.yaml"
    values.write_text(example)
    where = {f"charts/llm-d-storage/charts/{name}": str(charts / name), "my-values.yaml": str(values)}
    for command in commands.splitlines():
        program, *words = shlex.split(command)
        done = helm.helm(*(where.get(word, word) for word in words))
        assert program == "helm" and done.returncode == 0, done.stderr


def test_without_its_library_helm_says_what_to_do() -> None:
    done = helm.helm("template", "kv", helm.CHART / "charts" / "storage")
    assert done.returncode and "helm dependency build" in done.stderr and "common" in done.stderr


@pytest.mark.parametrize(
    ("name", "setting", "where"),
    [
        ("storage", "size=18TB", "/size"),
        ("modelserver", "storageTier.publish=copy", "/storageTier/publish"),
        ("inferencepool", "scorers.queue=-1", "/scorers/queue"),
        ("gateway", "global.router.mode=ingress", "/global/router/mode"),
    ],
)
def test_its_schema_is_its_own(charts: Path, name: str, setting: str, where: str) -> None:
    done = helm.helm("template", "kv", charts / name, "--set", setting)
    assert done.returncode and f"at '{where}'" in done.stderr


@pytest.mark.parametrize(
    ("name", "settings", "sentence"),
    [
        ("storage", "storageClassName=", 'storageClassName is "", which is no value for it'),
        (
            "storage",
            "backend=gcp-lustre,storageClassName=l,size=20000Gi",
            'size is "20000Gi" but volumes of lustre.csi.storage.gke.io are sold',
        ),
        ("modelserver", "accelerator.resource=none", "set tensorParallelSize to 1, or accelerator.resource to"),
        ("inferencepool", "scorers.noHitLru=1", "scorers.noHitLru is 1 but picker is inference-extension"),
        ("gateway", "provider=custom", "provider is custom but className is not set"),
        ("gateway", "global.nameOverride=1st", '"1st"'),
    ],
)
def test_its_rules_are_its_own(charts: Path, name: str, settings: str, sentence: str) -> None:
    """In the words of who installs it alone: without the umbrella's name of the section."""
    done = helm.helm("template", "kv", charts / name, "--set", settings)
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("  - ")]
    assert sentence in said and f" {name}." not in said, said

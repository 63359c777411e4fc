"""Runs the real helm on the chart, and reads what it prints. No cluster."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.lab.paths import helm_program
from tests.patience import CEILING_S

CHART = Path(__file__).resolve().parents[2] / "charts" / "llm-d-storage"
SCENARIOS = tuple(sorted(path.stem for path in (CHART / "ci").glob("*.yaml")))
RELEASE = "kv"
NAMESPACE = "inference"
# The one value that everybody must set: where the project's image is.
REGISTRY = ("--set", "global.image.registry=registry.example.com")

Object = dict[str, Any]
# Of its own, since a lone = is text for Helm and API servers, and an error for PyYAML.
_LOADER = type("_Loader", (getattr(yaml, "CSafeLoader", yaml.SafeLoader),), {})
_LOADER.add_constructor("tag:yaml.org,2002:value", lambda loader, node: loader.construct_scalar(node))


def load_yaml(text: str) -> list[Any]:
    return [doc for doc in yaml.load_all(text, Loader=_LOADER) if doc]


def helm(*args: str | Path) -> subprocess.CompletedProcess[str]:
    argv = [str(helm_program()), *map(str, args)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=CEILING_S, check=False)


def scenario_file(scenario: str) -> Path:
    return CHART / "ci" / f"{scenario}.yaml"


@cache
def rendered(scenario: str, *extra: str, release: str = RELEASE) -> str:
    """The manifests of one ci/ scenario; ``extra`` goes to helm."""
    args = ("template", release, CHART, "-n", NAMESPACE, "-f", scenario_file(scenario), *extra)
    done = helm(*args)
    assert done.returncode == 0, done.stderr
    return done.stdout


def objects(scenario: str, *extra: str, release: str = RELEASE) -> list[Object]:
    return load_yaml(rendered(scenario, *extra, release=release))


def one(objs: list[Object], kind: str, suffix: str) -> Object:
    """The object of that kind whose name ends in ``suffix``."""
    found = [o for o in objs if o["kind"] == kind and o["metadata"]["name"].endswith(suffix)]
    assert len(found) == 1, f"{len(found)} objects of kind {kind} named *{suffix}"
    return found[0]


def pod_template(obj: Object) -> Object | None:
    """Of what makes pods; None for other kinds."""
    if obj["kind"] == "LeaderWorkerSet":
        template: Object = obj["spec"]["leaderWorkerTemplate"]["workerTemplate"]  # for leaders, too
        return template
    return obj["spec"]["template"] if obj["kind"] in ("Deployment", "Job") else None


def pod_specs(objs: list[Object]) -> Iterator[tuple[str, Object]]:
    """(kind/name, pod spec) of everything that makes pods."""
    for o in objs:
        if template := pod_template(o):
            yield f"{o['kind']}/{o['metadata']['name']}", template["spec"]


def refusal(*args: str) -> str:
    """What helm says when it must refuse these values."""
    done = helm("template", RELEASE, CHART, "-n", NAMESPACE, *REGISTRY, *args)
    assert done.returncode != 0, "helm accepted them"
    return done.stderr

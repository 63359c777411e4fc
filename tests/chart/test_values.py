"""The values: one schema from one source, closed, and in step with values.yaml."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from tests.chart import helm


def _tool() -> ModuleType:
    path = helm.CHART.parent / "tools" / "make_schema.py"
    spec = importlib.util.spec_from_file_location("make_schema", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


SCHEMA: dict[str, Any] = json.loads((helm.CHART / "values.schema.json").read_text())
VALUES: dict[str, Any] = helm.load_yaml((helm.CHART / "values.yaml").read_text())[0]


def test_json_is_what_the_yaml_gives() -> None:
    assert (helm.CHART / "values.schema.json").read_text() == _tool().rendered(), "run make generate"


def resolve(schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = SCHEMA["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    return schema


def closed_objects(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    schema = resolve(schema)
    if schema.get("type") == "object" and "properties" in schema:
        yield path, schema
        for key, part in schema["properties"].items():
            yield from closed_objects(part, f"{path}.{key}".lstrip("."))


OBJECTS = dict(closed_objects(SCHEMA))
OURS = sorted(path for path in OBJECTS if path and not path.startswith("common"))


def value_at(path: str) -> Any:
    found: Any = VALUES
    for key in path.split(".") if path else []:
        found = found[key]
    return found


def test_every_key_is_in_values_and_in_the_schema() -> None:
    for path, schema in OBJECTS.items():
        if path.startswith("common"):
            continue
        expected = {k for k in schema["properties"] if k != "common" and (k != "global" or not path)}
        if path.endswith(("requests", "limits")) or path.endswith("resources"):
            assert set(value_at(path)) <= expected
            continue
        assert set(value_at(path)) == expected, path
        assert set(schema["required"]) == expected, path


@pytest.mark.parametrize("path", ["", *OURS])
def test_a_misspelt_key_is_refused_with_its_path(path: str) -> None:
    where = f"{path}.typo" if path else "typo"
    said = helm.refusal("--set", f"{where}=1")
    assert "additional properties 'typo' not allowed" in said
    assert f"at '/{path.replace('.', '/')}'" in said or not path


def test_a_subchart_takes_the_global_values() -> None:
    for name in ("storage", "modelserver", "inferencepool", "gateway"):
        assert "global" in resolve(SCHEMA["properties"][name])["properties"]


TYPED = [
    ("global.router.mode=ingress", "/global/router/mode"),
    ("global.image.pullPolicy=Sometimes", "/global/image/pullPolicy"),
    ("global.image.digest=sha256:12", "/global/image/digest"),
    ("storage.accessMode=ReadWriteOnce", "/storage/accessMode"),
    ("storage.size=18TB", "/storage/size"),
    ("storage.size=0.5Gi", "/storage/size"),
    ("storage.storageClass.reclaimPolicy=Keep", "/storage/storageClass/reclaimPolicy"),
    ("modelserver.replicas=two", "/modelserver/replicas"),
    ("modelserver.tensorParallelSize=0", "/modelserver/tensorParallelSize"),
    ("modelserver.cpuTier.size=100GB", "/modelserver/cpuTier/size"),
    ("modelserver.storageTier.publish=copy", "/modelserver/storageTier/publish"),
    ("modelserver.spread=always", "/modelserver/spread"),
    ("modelserver.resources.requests.memory=lots", "/modelserver/resources/requests/memory"),
    ("modelserver.model=", "/modelserver/model"),
    ("inferencepool.failureMode=Open", "/inferencepool/failureMode"),
    ("inferencepool.scorers.queue=-1", "/inferencepool/scorers/queue"),
    ("hooks.proof.minReusedFraction=95", "/hooks/proof/minReusedFraction"),
    ("hooks.proof.routerUrl=kv-router", "/hooks/proof/routerUrl"),
    ("hooks.checks.rwx=ignore", "/hooks/checks/rwx"),
    ("modelserver.hfToken=null", "/modelserver/hfToken"),
]


@pytest.mark.parametrize(("setting", "path"), TYPED)
def test_a_wrong_value_is_refused_with_its_path(setting: str, path: str) -> None:
    assert f"at '{path}'" in helm.refusal("--set", setting)

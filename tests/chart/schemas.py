"""JSON Schemas of what the API server would check: Kubernetes' own kinds (offline) and the CRDs."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
from jsonschema import Draft4Validator
from jsonschema.protocols import Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT4

from tests.chart import crds
from tests.chart.helm import load_yaml
from tests.lab import flux
from tests.lab.crds import crd_files
from tests.lab.paths import lab

_FILES = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
# From the oldest that the chart admits to the newest that there are schemas for.
VERSIONS = ("1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37")


def problems(obj: dict[str, Any], version: str) -> list[str]:
    """Every reason why an API server of this version would call the object malformed."""
    return list(_problems(json.dumps(obj, sort_keys=True), version))


@cache  # most objects of two scenarios are the same
def _problems(text: str, version: str) -> tuple[str, ...]:
    obj = json.loads(text)
    validator = _custom().get((obj["apiVersion"], obj["kind"])) or _builtin(obj["apiVersion"], obj["kind"], version)
    return tuple(f"{error.json_path}: {error.message}" for error in validator.iter_errors(obj))


@cache
def _folder(version: str) -> Path:
    found = sorted(_FILES.glob(f"v{version}.*-local-strict"))
    assert found, f"no schemas of Kubernetes {version}"
    return found[-1]


@cache
def _registry(version: str) -> Registry:
    """The files name each other by an address under which nothing is served: give them one that resolves here."""
    definitions = json.loads((_folder(version) / "_definitions.json").read_text())
    definitions.pop("$id", None)
    return Registry().with_resource("local:/_definitions.json", Resource(definitions, DRAFT4))


@cache
def _builtin(api_version: str, kind: str, version: str) -> Validator:
    group, _, api = api_version.rpartition("/")
    prefix = f"-{group.split('.')[0]}" if group else ""
    name = f"{kind.lower()}{prefix}-{api}.json"
    text = (_folder(version) / name).read_text()
    schema = json.loads(text.replace("/api/_definitions.json", "local:/_definitions.json"))
    schema.pop("$id", None)
    return Draft4Validator(schema, registry=_registry(version))


@cache
def _custom() -> dict[tuple[str, str], Validator]:
    """Validators of the CRDs, by apiVersion and kind."""
    found: dict[tuple[str, str], Validator] = {}
    for path in [*crd_files(), *crds.files(), *flux.crd_files(lab())]:
        for crd in load_yaml(path.read_text()):
            if crd["kind"] != "CustomResourceDefinition" or crd["spec"]["group"] in crds.UNUSED:
                continue
            spec = crd["spec"]
            for served in spec["versions"]:
                schema = served["schema"]["openAPIV3Schema"]
                _close(schema)
                schema["properties"] |= {
                    "apiVersion": {"type": "string"},
                    "kind": {"type": "string"},
                    "metadata": {"type": "object"},
                }
                key = (f"{spec['group']}/{served['name']}", spec["names"]["kind"])
                found[key] = Draft4Validator(schema)
    return found


def _close(schema: Any) -> None:
    """An unknown field is an error: the API server would drop it silently."""
    if isinstance(schema, list):
        for part in schema:
            _close(part)
    if not isinstance(schema, dict):
        return
    open_ended = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if schema.get("type") == "object" and "properties" in schema and not open_ended:
        schema["additionalProperties"] = False
    if schema.get("x-kubernetes-int-or-string"):
        schema.pop("type", None)
        schema["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    for part in schema.values():
        _close(part)

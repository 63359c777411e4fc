"""The facts of storage, from the storage chart's files/backends.yaml: for values schema, hooks and docs."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

SOURCE = Path(__file__).resolve().parents[1] / "llm-d-storage" / "charts" / "storage" / "files" / "backends.yaml"

Facts = dict[str, Any]


@cache
def facts() -> Facts:
    """The file: {types, backends, provisioners}."""
    known: Facts = yaml.safe_load(SOURCE.read_text())
    return known


def schema_parts() -> tuple[list[str], list[Facts], Facts]:
    """(storage.backend's words, a rule for each backend, the definitions that the rules name)."""
    rules, definitions = [], {}
    for name, backend in facts()["backends"].items():
        if accepts := backend.get("accepts"):
            target = {"$ref": f"#/$defs/{name}-parameters"}
            definitions[f"{name}-parameters"] = {"additionalProperties": False, "properties": accepts}
            then = {"properties": {"storageClass": {"properties": {"parameters": target}}}}
            rules.append({"if": {"properties": {"backend": {"const": name}}}, "then": then})
    return list(facts()["backends"]), rules, definitions


def rwx_table() -> list[Facts]:
    """The provisioners as the hooks read them: of the sizes only those that are refused, one range for each value."""
    return [_for_hooks(one) for one in facts()["provisioners"]]


def _for_hooks(provisioner: Facts) -> Facts:
    sizes = provisioner.get("sizes", {})
    rest = {key: value for key, value in provisioner.items() if key != "sizes"}
    if not sizes.get("enforced", True) or not sizes:
        return rest
    rules = {}
    for value, ranges in sizes["rules"].items():
        if len(ranges) != 1:
            raise SystemExit(f"{provisioner['name']}: the preflight takes one range of sizes for {value}")
        rules[value] = dict(ranges[0])
    return {**rest, "sizes": {"parameter": sizes["parameter"], "otherwise": sizes["otherwise"], "rules": rules}}

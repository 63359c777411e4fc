"""docs/values.md: every value with its default and its meaning, from the schema and values.yaml."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]
# Stands for the default of an object whose parts have rows of their own.
_WHOLE = object()

HEAD = """# Values
Made from values.schema.yaml and values.yaml by `charts/tools/make_schema.py`; do not edit. `null` means "not
set" throughout. What is not here is refused, with its path.
"""


def rendered(root: Schema, values: dict[str, Any]) -> str:
    """The page: one table for each section of values.yaml."""
    parts = [HEAD]
    for name, section in root["properties"].items():
        if name not in values:  # Helm's key of the library chart
            continue
        schema = _resolve(root, section)
        parts.append(f"\n## {name}\n{schema.get('description', '')}\n")
        parts.append("\n| value | default | what it is |\n| --- | --- | --- |\n")
        leaves = _leaves(root, schema, values[name], name) if "properties" in schema else [(name, schema, values[name])]
        for path, leaf, default in leaves:
            parts.append(f"| `{path}` | {_code(default)} | {_meaning(leaf)} |\n")
    return "".join(parts)


def optional(root: Schema) -> Iterator[str]:
    """The paths of all values that may be null, but for those of shapes that Kubernetes owns."""
    for name, section in root["properties"].items():
        yield from _optional(root, _resolve(root, section), name)


def _optional(root: Schema, schema: Schema, path: str) -> Iterator[str]:
    for key, part in schema.get("properties", {}).items():
        one = _resolve(root, part)
        here = f"{path}.{key}"
        # zeroIsAValue: one of which 0 is a value, so that nobody refuses it for "not set".
        if "null" in one.get("type", ()) and "object" not in one["type"] and not one.get("zeroIsAValue"):
            yield here
        yield from _optional(root, one, here)


def _resolve(root: Schema, schema: Schema) -> Schema:
    """The schema behind $ref; what stands beside the $ref wins."""
    merged = dict(schema)
    while "$ref" in merged:
        target = root["$defs"][merged.pop("$ref").removeprefix("#/$defs/")]
        merged = {**target, **merged}
    return merged


def _leaves(root: Schema, schema: Schema, default: Any, path: str) -> Iterator[tuple[str, Schema, Any]]:
    """(path, schema, default) of everything that a person sets; an object whose keys are fixed is looked into."""
    for key, part in schema["properties"].items():
        one = _resolve(root, part)
        if key == "global" or one.get("deprecated"):
            continue
        here = f"{path}.{key}"
        value = default.get(key) if isinstance(default, dict) else None
        if one.get("type") == "object" and "properties" in one and "$ref" not in part:
            if one.get("description"):
                yield here, one, _WHOLE
            yield from _leaves(root, one, value, here)
        else:
            yield here, _with_parts(root, one), value


def _with_parts(root: Schema, schema: Schema) -> Schema:
    """A definition that several values share, such as image: its keys are named, not looked into."""
    if "properties" not in schema:
        return schema
    keys = ", ".join(schema["properties"])
    return {**schema, "description": f"{schema.get('description', '')} Keys: {keys}.".strip()}


def _code(value: Any) -> str:
    if value is _WHOLE:
        return ""
    text = json.dumps(value, ensure_ascii=False).replace("|", "\\|")
    return f"`{text}`"


def _meaning(schema: Schema) -> str:
    said = [" ".join(schema.get("description", "").split())]
    if "enum" in schema:
        # Of on and off, true and false are other spellings, and null is said of all values.
        words = [one for one in schema["enum"] if isinstance(one, str) or "null" not in schema.get("type", ())]
        said.append("One of: " + ", ".join(f"`{one}`" for one in words) + ".")
    bounds = [
        f"{word} {schema[key]}"
        for key, word in (("minimum", "at least"), ("maximum", "at most"))
        if key in schema and not (schema[key] == 0 and "null" in schema.get("type", ()))
    ]
    if bounds:
        said.append(" and ".join(bounds).capitalize() + ".")
    return " ".join(part for part in said if part).replace("|", "\\|")

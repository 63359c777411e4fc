"""What makes a subchart whole: its own values.yaml, values.schema.json and files/optional.yaml.

All of them come from the umbrella's: one file to edit, and no two that can differ.
"""

from __future__ import annotations

import copy
import re
from typing import Any

import values_doc

NAMES = ("storage", "modelserver", "inferencepool", "gateway")
_VALUES_HEAD = """# Made from the umbrella's values.yaml by charts/tools/make_schema.py; do not edit.
# null means "not set" throughout.

"""


def values(umbrella: str, name: str) -> str:
    """The subchart's values.yaml: the umbrella's global section, and its own section's lines one step to the left."""
    own = "".join(line.removeprefix("  ") for line in _section(umbrella, name).splitlines(keepends=True)[1:])
    return _VALUES_HEAD + _section(umbrella, "global") + "\n" + own


def _section(text: str, name: str) -> str:
    match = re.search(rf"^{name}:\n(?:(?:[ ].*)?\n)+", text, re.MULTILINE)
    if match is None:
        raise SystemExit(f"values.yaml has no section {name}")
    return match[0].rstrip("\n") + "\n"


def schema(root: dict[str, Any], name: str) -> dict[str, Any]:
    """The subchart's schema as a document of its own, with what it names of the shared definitions."""
    part = copy.deepcopy(root["$defs"][name])
    part["properties"] |= {
        "global": root["properties"]["global"],
        # Helm adds this key for the library chart; there is nothing to set.
        "common": {"type": "object", "deprecated": True},
    }
    shared = {key: value for key, value in root["$defs"].items() if key not in NAMES}
    used: dict[str, Any] = {}
    _gather(part, shared, used)
    return {"$schema": root["$schema"], "title": f"Values of {name}", **part, "$defs": used}


def _gather(part: Any, shared: dict[str, Any], used: dict[str, Any]) -> None:
    """Every definition that the part names, and that those name."""
    if isinstance(part, list):
        for one in part:
            _gather(one, shared, used)
    if not isinstance(part, dict):
        return
    target = part.get("$ref")
    if isinstance(target, str) and (key := target.removeprefix("#/$defs/")) not in used:
        used[key] = shared[key]
        _gather(shared[key], shared, used)
    for one in part.values():
        _gather(one, shared, used)


def optional(root: dict[str, Any], name: str) -> list[str]:
    """The paths, as the subchart's own user writes them, of values that may be null."""
    paths = values_doc.optional(root)
    mine = [path.removeprefix(f"{name}.") for path in paths if path.startswith((f"{name}.", "global."))]
    return mine

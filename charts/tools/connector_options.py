"""The connector's options as values of modelserver.storageTier, from schemas/connector-config.schema.json.

An option that the connector learns becomes a value by itself: its name in the chart's spelling, null unless set.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).resolve().parents[2] / "schemas" / "connector-config.schema.json"
# What the chart makes itself, or has as a value of all connectors (blockTokens, promptOnly).
CHART_OWNED = {
    "root_dir": "",
    "cpu_bytes_to_use": "modelserver.cpuTier.size",
    "block_size": "modelserver.storageTier.blockTokens",
    "offload_prompt_only": "modelserver.storageTier.promptOnly",
}
# The chart's own default, for what a reader of the rendered flags looks for first; of the rest it is the connector's.
STATED = {"publish": "auto", "fail_fast": False}
_UNITS = {"_s": "Seconds", "_bytes": "Size"}


@dataclass(frozen=True, slots=True)
class Value:
    """One option. name: the value's; kind: integer, number, boolean, string or size (a Kubernetes quantity)."""

    name: str
    option: str
    kind: str
    spec: dict[str, Any]

    @property
    def default(self) -> Any:
        """What values.yaml says: None = the connector's default."""
        return STATED.get(self.option)

    @property
    def doc(self) -> str:
        """What it is, its name in the connector, and the connector's default."""
        default = json.dumps(self.spec["default"]) if "default" in self.spec else ""
        said = f"{self.option}; {default} unless set" if default else self.option
        return f"{self.spec['description']} ({said})"

    def schema(self) -> dict[str, Any]:
        """The value in JSON Schema. 0 is let through where it is no value: the chart refuses it in a sentence."""
        if self.kind == "size":
            return {"$ref": "#/$defs/optionalSize", "description": self.doc}
        if "enum" in self.spec:
            words = [*self.spec["enum"]]
            if "on" in words:  # without quotes YAML reads on and off as true and false
                words += [True, False]
            return {"type": ["string", "boolean", "null"], "enum": [*words, None], "description": self.doc}
        made: dict[str, Any] = {"type": [self.kind, "null"], "description": self.doc}
        if minimum := self.spec.get("minimum"):
            made["anyOf"] = [{"const": 0}, {"minimum": minimum}]
        return made


def values() -> list[Value]:
    """All that can be set, in the connector's order; what vLLM takes in any shape goes through extraConfig."""
    options = json.loads(SOURCE.read_text())["properties"]
    own = {name: spec for name, spec in options.items() if spec["type"] not in ("array", "object")}
    return [_value(name, spec) for name, spec in own.items() if name not in CHART_OWNED]


def _value(option: str, spec: dict[str, Any]) -> Value:
    unit = next((end for end in _UNITS if option.endswith(end)), "")
    kind = "size" if unit == "_bytes" else spec["type"]
    if kind not in ("integer", "number", "boolean", "string", "size"):
        raise SystemExit(f"the chart cannot hand on {option}, which is of type {kind}")
    name = re.sub("_([a-z])", lambda m: m[1].upper(), option.removesuffix(unit)) + _UNITS.get(unit, "")
    return Value(name, option, kind, spec)

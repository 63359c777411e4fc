# SPDX-License-Identifier: Apache-2.0
"""One setting of a table: how to read its value, and its JSON Schema. Pure."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmd_storage_evictor.sizes import QUANTITY_PATTERN, bytes_of

REQUIRED: Any = object()
# No Python type: bytes, or a Kubernetes quantity ("18000Gi").
BYTES = "bytes"

_TYPE_NAMES = {
    str: "a string",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    BYTES: 'bytes, or a size like "500Gi"',
}


@dataclass(frozen=True, slots=True)
class Option:
    """One setting. minimum and maximum are inclusive. A default of None is explained in the doc."""

    kind: Any
    default: Any
    doc: str
    minimum: float | None = None
    maximum: float | None = None

    def read(self, value: Any) -> Any:
        """The value, converted and checked. Raises: ValueError, its text the end of a sentence."""
        read = self._convert(value)
        if self.minimum is not None and not read >= self.minimum:
            raise ValueError(f"must be at least {self.minimum:g}, not {value}")
        if self.maximum is not None and not read <= self.maximum:
            raise ValueError(f"must be at most {self.maximum:g}, not {value}")
        return read

    def _convert(self, value: Any) -> Any:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if self.kind == BYTES and isinstance(value, str):
            try:
                return bytes_of(value)
            except ValueError as error:
                raise ValueError(f"cannot be read: {error}") from error
        # Helm's toJson may write a whole number as a float.
        if self.kind in (int, BYTES) and number and float(value).is_integer():
            return int(value)
        if self.kind is float and number:
            return float(value)
        if self.kind in (str, bool) and isinstance(value, self.kind):
            return value
        raise ValueError(f"must be {_TYPE_NAMES[self.kind]}, not {json.dumps(value, default=str)}")

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of this option."""
        names = {str: "string", int: "integer", float: "number", bool: "boolean"}
        result: dict[str, Any] = {"description": self.doc}
        if self.kind == BYTES:
            number = {"type": "integer", "minimum": self.minimum or 0}
            result["oneOf"] = [number, {"type": "string", "pattern": QUANTITY_PATTERN}]
        else:
            result["type"] = names[self.kind]
            if self.minimum is not None:
                result["minimum"] = self.minimum
        if self.maximum is not None:
            result["maximum"] = self.maximum
        if self.default is not REQUIRED and self.default is not None:
            result["default"] = self.default
        return result


def read_table(
    options: Mapping[str, Option], raw: Mapping[str, Any], where: str, problems: list[str], also: Sequence[str] = ()
) -> dict[str, Any]:
    """Values by name, defaults filled in; errors are added to `problems`.

    where: prefix of a name in a problem. also: names that are read elsewhere, and only suggested here.
    """
    known = [*options, *also]
    problems += [f"unknown key {where}{name}{_suggestion(str(name), known)}" for name in raw if name not in options]
    values: dict[str, Any] = {}
    for name, option in options.items():
        value = raw.get(name)
        if value is None:
            values[name] = option.default
            if option.default is REQUIRED:
                problems.append(f"{where}{name} is missing: {option.doc}")
            continue
        try:
            values[name] = option.read(value)
        except ValueError as error:
            problems.append(f"{where}{name} {error}")
    return values


def _suggestion(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else f" (known: {', '.join(known)})"

# SPDX-License-Identifier: Apache-2.0
"""One setting of a table: how it is read from what an operator wrote, and how it is said in JSON Schema. Pure."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmd_storage_evictor.sizes import QUANTITY_PATTERN, bytes_of

REQUIRED: Any = object()
# Not a type of Python's: bytes, or a quantity as in Kubernetes ("18000Gi").
BYTES = "bytes"

_WORDS = {
    str: "a string",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    BYTES: 'bytes, or a size like "500Gi"',
}


@dataclass(frozen=True, slots=True)
class Option:
    """One setting. minimum and maximum are inclusive. A default of None means: see the doc."""

    kind: Any
    default: Any
    doc: str
    minimum: float | None = None
    maximum: float | None = None

    def read(self, value: Any) -> Any:
        """The value in the type of the table. Raises: ValueError with the end of a sentence."""
        read = self._typed(value)
        if self.minimum is not None and not read >= self.minimum:
            raise ValueError(f"must be at least {self.minimum:g}, not {value}")
        if self.maximum is not None and not read <= self.maximum:
            raise ValueError(f"must be at most {self.maximum:g}, not {value}")
        return read

    def _typed(self, value: Any) -> Any:
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
        raise ValueError(f"must be {_WORDS[self.kind]}, not {json.dumps(value, default=str)}")

    def schema(self) -> dict[str, Any]:
        """This option in JSON Schema."""
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
    options: Mapping[str, Option], raw: Mapping[str, Any], where: str, faults: list[str], also: Sequence[str] = ()
) -> dict[str, Any]:
    """Values by name, defaults filled in; what is wrong goes to `faults`.

    where: what stands before a name in a fault. also: names that are read elsewhere, known only to be suggested.
    """
    known = [*options, *also]
    faults += [f"unknown key {where}{name}{_nearest(str(name), known)}" for name in raw if name not in options]
    values: dict[str, Any] = {}
    for name, option in options.items():
        value = raw.get(name)
        if value is None:
            values[name] = option.default
            if option.default is REQUIRED:
                faults.append(f"{where}{name} is missing: {option.doc}")
            continue
        try:
            values[name] = option.read(value)
        except ValueError as error:
            faults.append(f"{where}{name} {error}")
    return values


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else f" (known: {', '.join(known)})"

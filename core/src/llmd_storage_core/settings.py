# SPDX-License-Identifier: Apache-2.0
"""Settings: a frozen dataclass says what they are; JSON is decoded into it strictly, and its JSON Schema made from it.

    @dataclass(frozen=True)
    class Config:
        root_dir: Annotated[str, Setting("Absolute path of the cache.")]
        io_threads: Annotated[int, Setting("Threads that read.", minimum=1)] = 32

Fields may be str, int, float, bool, Bytes, Seconds, Any (as it is), further such dataclasses, tuples and dicts of
these, each with `| None`.
Where a field has a default, null and absent are the same. An unknown key or a wrong type is a problem; all problems
are told at once, each in a sentence that names the place, what is there and what is expected. Pure.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, TypeVar

T = TypeVar("T")
# Python's names inside, the caller's outside.
Naming = Callable[[str], str]

_UNITS = {
    "": 1,
    "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50,
}  # fmt: skip
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)\s*([kMGTP]|[KMGTP]i)?")
_QUANTITY_PATTERN = r"^\d+(\.\d+)?([kMGTP]|[KMGTP]i)?$"
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd]?)")
_DURATION_PATTERN = r"^\d+(\.\d+)?[smhd]?$"
_TYPE_NAMES = {str: "a string", int: "a whole number", float: "a number", bool: "true or false"}
_CONTAINERS: dict[Any, str] = {tuple: "a list", dict: "a JSON object"}
_SCHEMA_NAMES = {str: "string", int: "integer", float: "number", bool: "boolean"}


@dataclass(frozen=True, slots=True)
class Setting:
    """What a field's type does not say. minimum and maximum are inclusive; choices, when given, are all that may be."""

    doc: str = ""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()


class _Quantity:
    """Marks an int that may be written as a Kubernetes quantity."""


class _Duration:
    """Marks a float that may be written with a unit of time."""


Bytes = Annotated[int, _Quantity()]
Seconds = Annotated[float, _Duration()]
_EXPECTED: dict[type, str] = {_Quantity: 'bytes, or a size like "500Gi"', _Duration: 'seconds, or a time like "12h"'}


class Invalid(ValueError):
    """problems: a sentence each, without a full stop."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


def as_is(name: str) -> str:
    """Names that are the same inside and outside."""
    return name


def camel(name: str) -> str:
    """`claim_name` -> `claimName`."""
    head, *tail = name.split("_")
    return head + "".join(word.capitalize() for word in tail)


def bytes_of(text: str) -> int:
    """`18000Gi`, `2.5T`, `1024` in bytes, as Kubernetes reads them. Raises: ValueError saying what is allowed."""
    found = _QUANTITY.fullmatch(text.strip())
    if not found:
        raise ValueError(f"{text!r} is not a size: write bytes, or a number with k, M, G, T, P or Ki, Mi, Gi, Ti, Pi")
    return int(Decimal(found[1]) * _UNITS[found[2] or ""])


def seconds_of(text: str) -> float:
    """`90`, `15m`, `12h`, `30d` in seconds. Raises: ValueError saying what is allowed."""
    found = _DURATION.fullmatch(text.strip())
    if not found:
        raise ValueError(f"{text!r} is not a duration: write seconds, or a number with s, m, h or d")
    return float(found[1]) * _SECONDS[found[2]]


# ---- JSON to a dataclass, and back --------------------------------------------------------------------------


def decode(kind: type[T], raw: object, *, where: str = "", naming: Naming = as_is) -> T:
    """Build `kind` from `raw`. where: what the object is called in a problem. Raises: Invalid."""
    problems: list[str] = []
    record = _record(kind, raw, where, naming, problems)
    if problems:
        raise Invalid(problems)
    return typing.cast(T, record)


def encode(record: Any, *, naming: Naming = as_is) -> dict[str, Any]:
    """A dataclass as JSON-ready data: the inverse of `decode`."""
    return {naming(field.name): _encoded(getattr(record, field.name), naming) for field in dataclasses.fields(record)}


def _encoded(value: Any, naming: Naming) -> Any:
    if dataclasses.is_dataclass(value):
        return encode(value, naming=naming)
    if isinstance(value, tuple | list):
        return [_encoded(one, naming) for one in value]
    return value


def _record(kind: Any, raw: object, where: str, naming: Naming, problems: list[str]) -> object:
    if not isinstance(raw, dict):
        problems.append(f"{where or 'the configuration'} must be a JSON object, not {_shown(raw)}")
        return None
    fields = {naming(field.name): field for field in dataclasses.fields(kind)}
    hints = typing.get_type_hints(kind, include_extras=True)
    prefix = where and f"{where}."
    problems += [f"unknown key {prefix}{key}{_suggestion(str(key), list(fields))}" for key in raw if key not in fields]
    values: dict[str, Any] = {}
    before = len(problems)
    for key, field in fields.items():
        hint, given = hints[field.name], raw.get(key)
        if given is None and _has_default(field):
            continue
        if given is None and key in raw and _is_optional(hint):
            values[field.name] = None
        elif key in raw:
            values[field.name] = _value(hint, given, prefix + key, naming, problems)
        else:
            doc = _setting(hint).doc
            problems.append(f"{prefix}{key} is missing" + (f": {doc}" if doc else ""))
    return None if len(problems) > before else kind(**values)


def _value(hint: Any, raw: object, where: str, naming: Naming, problems: list[str]) -> Any:
    bare, setting = _bare(hint), _setting(hint)
    if dataclasses.is_dataclass(bare):
        return _record(bare, raw, where, naming, problems)
    if bare is Any:
        return raw
    if typing.get_origin(bare) in _CONTAINERS:
        return _container(bare, raw, where, naming, problems)
    try:
        return _checked(setting, _scalar(bare, raw, _unit(hint)), raw)
    except ValueError as error:
        problems.append(f"{where} {error}")
        return None


def _container(bare: Any, raw: object, where: str, naming: Naming, problems: list[str]) -> Any:
    item = typing.get_args(bare)
    if typing.get_origin(bare) is tuple and isinstance(raw, list):
        return tuple(_value(item[0], one, f"{where}[{at}]", naming, problems) for at, one in enumerate(raw))
    if typing.get_origin(bare) is dict and isinstance(raw, dict):
        return {str(key): _value(item[1], one, f'{where}."{key}"', naming, problems) for key, one in raw.items()}
    problems.append(f"{where} must be {_CONTAINERS[typing.get_origin(bare)]}, not {_shown(raw)}")
    return None


def _scalar(bare: Any, raw: object, unit: type | None) -> Any:
    """unit: _Quantity, _Duration or None. Raises: ValueError, its text the end of a sentence."""
    number = isinstance(raw, int | float) and not isinstance(raw, bool)
    if unit and isinstance(raw, str):
        try:
            return bytes_of(raw) if unit is _Quantity else seconds_of(raw)
        except ValueError as error:
            raise ValueError(f"cannot be read: {error}") from error
    # Helm's toJson may write a whole number as a float.
    if bare is int and number and float(typing.cast(float, raw)).is_integer():
        return int(typing.cast(float, raw))
    if bare is float and number:
        return float(typing.cast(float, raw))
    if bare in (str, bool) and isinstance(raw, bare):
        return raw
    expected = _EXPECTED[unit] if unit else _TYPE_NAMES[bare]
    raise ValueError(f"must be {expected}, not {_shown(raw)}")


def _checked(setting: Setting, value: Any, raw: object) -> Any:
    """Raises: ValueError, its text the end of a sentence."""
    if setting.choices and value not in setting.choices:
        raise ValueError(f"must be one of {', '.join(setting.choices)}, not {_shown(raw)}")
    # Not "<": a NaN is neither.
    if setting.minimum is not None and not value >= setting.minimum:
        raise ValueError(f"must be at least {setting.minimum:g}, not {raw}")
    if setting.maximum is not None and not value <= setting.maximum:
        raise ValueError(f"must be at most {setting.maximum:g}, not {raw}")
    return value


def _shown(raw: object) -> str:
    text = json.dumps(raw, default=str)
    return text if len(text) <= 80 else text[:77] + "..."


def _suggestion(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else f" (known: {', '.join(known)})"


# ---- JSON Schema --------------------------------------------------------------------------------------------


def json_schema(kind: type, *, naming: Naming = as_is) -> dict[str, Any]:
    """The fields of a dataclass as an object's schema: type, additionalProperties, required, properties."""
    hints = typing.get_type_hints(kind, include_extras=True)
    properties, required = {}, []
    for field in dataclasses.fields(kind):
        schema = _schema(hints[field.name], naming)
        if not _has_default(field):
            required.append(naming(field.name))
        elif field.default is not None and field.default is not dataclasses.MISSING:
            schema["default"] = _encoded(field.default, naming)
        properties[naming(field.name)] = schema
    found: dict[str, Any] = {"type": "object", "additionalProperties": False}
    return found | ({"required": required} if required else {}) | {"properties": properties}


def _schema(hint: Any, naming: Naming) -> dict[str, Any]:
    bare, setting = _bare(hint), _setting(hint)
    described: dict[str, Any] = {"description": setting.doc} if setting.doc else {}
    origin = typing.get_origin(bare)
    if origin is tuple:
        return {"type": "array", **described, "items": _schema(typing.get_args(bare)[0], naming)}
    if origin is dict:
        return {"type": "object", **described, "additionalProperties": _schema(typing.get_args(bare)[1], naming)}
    if bare is Any:
        return described
    if dataclasses.is_dataclass(bare):
        return described | json_schema(typing.cast(type, bare), naming=naming)
    if unit := _unit(hint):
        number: dict[str, Any] = {"type": _SCHEMA_NAMES[bare], "minimum": setting.minimum or 0}
        if setting.maximum is not None:
            number["maximum"] = setting.maximum
        pattern = _QUANTITY_PATTERN if unit is _Quantity else _DURATION_PATTERN
        return {**described, "oneOf": [number, {"type": "string", "pattern": pattern}]}
    schema = {"type": _SCHEMA_NAMES[bare], **described}
    if setting.choices:
        schema["enum"] = list(setting.choices)
    if setting.minimum is not None:
        schema["minimum"] = setting.minimum
    if setting.maximum is not None:
        schema["maximum"] = setting.maximum
    return schema


def _has_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


# ---- what a field's hint says -------------------------------------------------------------------------------


def _parts(hint: Any) -> tuple[Any, list[Any]]:
    """The bare type without None, and all that Annotated says, outermost first."""
    said: list[Any] = []
    while True:
        if typing.get_origin(hint) is Annotated:
            hint, *more = typing.get_args(hint)
            said += more
        elif typing.get_origin(hint) in (types.UnionType, typing.Union):
            hint = next(arm for arm in typing.get_args(hint) if arm is not type(None))
        else:
            return hint, said


def _bare(hint: Any) -> Any:
    return _parts(hint)[0]


def _setting(hint: Any) -> Setting:
    return next((said for said in _parts(hint)[1] if isinstance(said, Setting)), Setting())


def _unit(hint: Any) -> type | None:
    """What a number may be written with: _Quantity, _Duration, or None."""
    return next((type(said) for said in _parts(hint)[1] if isinstance(said, _Quantity | _Duration)), None)


def _is_optional(hint: Any) -> bool:
    if typing.get_origin(hint) is Annotated:
        return _is_optional(typing.get_args(hint)[0])
    union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    return union and type(None) in typing.get_args(hint)

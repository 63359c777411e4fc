# SPDX-License-Identifier: Apache-2.0
"""Strict decoding: JSON objects to frozen dataclasses and back. An unknown key or a wrong type is an error."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from typing import Any, TypeVar

from llmd_storage_hooks.core.errors import ConfigError

T = TypeVar("T")

_TYPE_NAMES = {str: "a string", int: "a whole number", float: "a number", bool: "true or false"}


def camel(name: str) -> str:
    """`claim_name` -> `claimName`: Python's names inside, JSON's names outside."""
    head, *tail = name.split("_")
    return head + "".join(word.capitalize() for word in tail)


def decode(kind: type[T], raw: Any, where: str = "config") -> T:
    """Build `kind` from `raw`.

    Raises: ConfigError that names the place, what is there and what is expected.
    """
    if not isinstance(raw, dict):
        raise ConfigError(f"{where} must be a JSON object, not {_shown(raw)}.")
    fields = {camel(field.name): field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in raw:
        if key not in fields:
            raise ConfigError(f'{where} has an unknown key "{key}".{_did_you_mean(key, list(fields))}')
    hints = typing.get_type_hints(kind)
    values = {
        field.name: _value(hints[field.name], raw[key], f"{where}.{key}") for key, field in fields.items() if key in raw
    }
    for key, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and key not in raw:
            raise ConfigError(f'{where} lacks the key "{key}".')
    return kind(**values)


def encode(record: Any) -> dict[str, Any]:
    """A dataclass as JSON-ready data: the inverse of `decode`."""
    return {camel(field.name): _encoded(getattr(record, field.name)) for field in dataclasses.fields(record)}


def _encoded(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return encode(value)
    if isinstance(value, tuple | list):
        return [_encoded(one) for one in value]
    return value


def _did_you_mean(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f' Did you mean "{close[0]}"?' if close else f" Known keys: {', '.join(sorted(known))}."


def _shown(raw: Any) -> str:
    return f"{raw!r:.80}"


def _value(hint: Any, raw: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    if origin is types.UnionType:  # "X | None": null means "not given"
        inner = next(arm for arm in typing.get_args(hint) if arm is not type(None))
        return None if raw is None else _value(inner, raw, where)
    if origin is tuple:
        if not isinstance(raw, list):
            raise ConfigError(f"{where} must be a list, not {_shown(raw)}.")
        item = typing.get_args(hint)[0]
        return tuple(_value(item, one, f"{where}[{i}]") for i, one in enumerate(raw))
    if origin is dict:
        if not isinstance(raw, dict):
            raise ConfigError(f"{where} must be a JSON object, not {_shown(raw)}.")
        item = typing.get_args(hint)[1]
        return {str(key): _value(item, one, f'{where}."{key}"') for key, one in raw.items()}
    if dataclasses.is_dataclass(hint):
        return decode(typing.cast(type, hint), raw, where)
    return _scalar(hint, raw, where)


def _scalar(hint: type, raw: Any, where: str) -> Any:
    # Helm's toJson may write a whole number as a float, so 300.0 is accepted where 300 is meant.
    number = isinstance(raw, int | float) and not isinstance(raw, bool)
    if hint is int and number and float(raw).is_integer():
        return int(raw)
    if hint is float and number:
        return float(raw)
    if hint in (str, bool) and isinstance(raw, hint):
        return raw
    raise ConfigError(f"{where} must be {_TYPE_NAMES[hint]}, not {_shown(raw)}.")

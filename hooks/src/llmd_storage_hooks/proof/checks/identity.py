# SPDX-License-Identifier: Apache-2.0
"""Proof, identity: the fields in which two namespaces differ, by the manifest.json of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

MOST = 6  # fields that are named; two models may differ in a hundred
_CHARS = 60


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[str, ...]:
    """Of the `fields` of two manifests: "path (value in one / value in the other)", the first MOST of them."""
    found = list(_apart(one.get("fields", {}), other.get("fields", {}), ""))
    more = [f"{len(found) - MOST} more"] if len(found) > MOST else []
    return (*found[:MOST], *more)


def _apart(one: Any, other: Any, path: str) -> Iterator[str]:
    if one == other:
        return
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            yield from _apart(one.get(key), other.get(key), f"{path}.{key}" if path else key)
        return
    yield f"{path} ({_shown(one)} / {_shown(other)})"


def _shown(value: Any) -> str:
    text = f"{value}"
    return text if len(text) <= _CHARS else text[: _CHARS - 3] + "..."

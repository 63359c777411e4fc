# SPDX-License-Identifier: Apache-2.0
"""Kubernetes quantities (1Gi, 500m) as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kubernetes.utils.quantity import parse_quantity


def quantity(raw: Any) -> int | None:
    """A Kubernetes quantity in whole units (bytes, devices); None when it is not one."""
    if raw in (None, ""):
        return None
    try:
        return int(parse_quantity(raw))  # type: ignore[no-untyped-call]  # the library has no hints here
    except (ValueError, ArithmeticError):
        return None


def amounts(raw: Mapping[str, Any]) -> dict[str, int]:
    """Quantities by resource name: CPU in thousandths of a core, all else in whole units. Odd ones count as 0."""
    return {str(key): (milli(value) if key.endswith("cpu") else quantity(value)) or 0 for key, value in raw.items()}


def milli(raw: Any) -> int | None:
    """A quantity in thousandths; None when it is not one."""
    try:
        return int(parse_quantity(raw) * 1000)  # type: ignore[no-untyped-call]  # the library has no hints here
    except (ValueError, ArithmeticError):
        return None

# SPDX-License-Identifier: Apache-2.0
"""Sizes and durations as text. Pure."""

from __future__ import annotations

from llmd_storage_core.settings import bytes_of, seconds_of

__all__ = ["bytes_of", "seconds_of", "show_bytes", "show_seconds"]


def show_bytes(count: float) -> str:
    """Three digits and a binary unit: `1.50 GiB`."""
    value, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB", "PiB"):
        if abs(value) < 1024:
            break
        value, unit = value / 1024, larger
    return (
        f"{value:.0f} B"
        if unit == "B"
        else f"{value:.{2 if abs(value) < 10 else 1 if abs(value) < 100 else 0}f} {unit}"
    )


def show_seconds(seconds: float) -> str:
    """The two largest units: `3d 4h`, `12m 5s`, `0.42s`."""
    if seconds < 10:
        return f"{seconds:.2f}s"
    left = round(seconds)
    parts: list[str] = []
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        if left >= length and len(parts) < 2:
            parts.append(f"{left // length}{unit}")
            left %= length
        elif parts:
            break
    return " ".join(parts)

"""Digests of what a thing is made from: current when the digest beside it is the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

# What Python and its tools leave in a source tree is no input.
LITTER = {"__pycache__", ".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", "build", "dist"}


def files_under(*roots: Path) -> list[Path]:
    """Every source file below the roots, sorted; litter left out."""
    found: list[Path] = []
    for root in roots:
        candidates = [root] if root.is_file() else root.rglob("*")
        for f in candidates:
            parts = f.relative_to(root).parts if f != root else ()
            litter = any(p in LITTER or p.endswith(".egg-info") for p in parts) or f.suffix == ".pyc"
            if f.is_file() and not litter:
                found.append(f)
    return sorted(found)


def of_files(files: Iterable[Path], *words: str) -> str:
    """A digest of names and contents, and of any further words that matter (a version, a flag)."""
    h = hashlib.sha256()
    for w in words:
        h.update(w.encode() + b"\0")
    for f in files:
        h.update(f.name.encode() + b"\0" + str(f.stat().st_mode & 0o111).encode() + b"\0")
        h.update(hashlib.sha256(f.read_bytes()).digest())
    return h.hexdigest()[:16]


def stamped(stamp: Path, digest: str) -> bool:
    try:
        return stamp.read_text().strip() == digest
    except FileNotFoundError:
        return False

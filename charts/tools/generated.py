# SPDX-License-Identifier: Apache-2.0
"""What all tools share that make files from a source: their command line, and parts of files between markers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

Files = dict[Path, str]


def between(text: str, begin: str, end: str, made: str) -> str:
    """The text with what stands between the line that begins with `begin` and `end` replaced by `made`.

    Raises: SystemExit when a marker is missing.
    """
    if begin not in text or end not in text:
        raise SystemExit(f"no lines {begin.strip()!r} and {end.strip()!r}")
    start = text.index("\n", text.index(begin)) + 1
    return text[:start] + made + text[text.index(end, start) :]


def main(usage: str | None, source: str, rendered: Callable[[], Files], folder: Path | None = None) -> int:
    """Write what rendered() gives where it differs; with --check only name what differs. Returns: the exit status.

    source: what the files are made from, in words. folder: holds nothing but these files.
    """
    args = sys.argv[1:]
    if args not in ([], ["--check"]):
        print(usage)
        return 2
    files = rendered()
    stale = [path for path, text in files.items() if not path.exists() or path.read_text() != text]
    surplus = [path for path in folder.glob("*") if path not in files] if folder else []
    if args:
        for path in stale + surplus:
            print(f"{path.name} is not what {source} gives; run make generate")
        return 1 if stale or surplus else 0
    for path in stale:
        path.parent.mkdir(exist_ok=True)
        path.write_text(files[path])
    for path in surplus:
        path.unlink()
    return 0

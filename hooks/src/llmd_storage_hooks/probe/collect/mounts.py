# SPDX-License-Identifier: Apache-2.0
"""Which filesystem a directory is on, without touching it."""

from __future__ import annotations

import os
from pathlib import Path

MOUNTINFO = "/proc/self/mountinfo"


def filesystem_of(path: str, mountinfo: str = MOUNTINFO) -> str:
    """The type of the innermost mount that holds `path`, e.g. "ext4", "ceph"; "" when it is not known."""
    try:
        lines = Path(mountinfo).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ""
    inside = os.path.join(os.path.normpath(path), "")
    mounts = [(_unescaped(left.split()[4]), right.split()[0]) for left, right in (one.split(" - ", 1) for one in lines)]
    holding = [
        (len(at), place, kind) for place, (at, kind) in enumerate(mounts) if inside.startswith(os.path.join(at, ""))
    ]
    return max(holding)[2] if holding else ""


def _unescaped(text: str) -> str:
    """mountinfo writes blanks and backslashes as octal escapes."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text

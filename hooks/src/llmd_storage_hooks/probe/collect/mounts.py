# SPDX-License-Identifier: Apache-2.0
"""Which filesystem a directory is on, without touching it."""

from __future__ import annotations

import os
from pathlib import Path

MOUNTINFO = "/proc/self/mountinfo"
# NFS shows actimeo as the four of ac...; SMB has actimeo and closetimeo. FUSE clients do not show theirs.
_CACHING = frozenset(
    ("actimeo", "acregmin", "acregmax", "acdirmin", "acdirmax", "lookupcache", "nocto", "closetimeo", "handletimeout")
)


def filesystem_of(path: str, mountinfo: str = MOUNTINFO) -> str:
    """The type of the innermost mount that holds `path`, e.g. "ext4", "ceph"; "" when it is not known."""
    return _mount_of(path, mountinfo)[0]


def _mount_of(path: str, mountinfo: str) -> tuple[str, str]:
    """Type and options, of the mount and of the filesystem."""
    try:
        lines = Path(mountinfo).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return "", ""
    inside = os.path.join(os.path.normpath(path), "")
    holding = []
    for place, line in enumerate(lines):
        left, right = (one.split() for one in line.split(" - ", 1))
        at = _unescaped(left[4])
        if inside.startswith(os.path.join(at, "")):
            holding.append((len(at), place, right[0], ",".join((left[5], *right[2:]))))
    return max(holding)[2:] if holding else ("", "")


def caching_of(path: str, mountinfo: str = MOUNTINFO) -> tuple[str, ...]:
    """The options of that mount that decide how late this node sees what others change, e.g. "actimeo=30"."""
    options = _mount_of(path, mountinfo)[1].split(",")
    return tuple(sorted({one for one in options if one.partition("=")[0] in _CACHING}))


def _unescaped(text: str) -> str:
    """mountinfo writes blanks and backslashes as octal escapes."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text

# SPDX-License-Identifier: Apache-2.0
"""Which filesystem a path is on, by the name its client gives it."""

from __future__ import annotations

import os
import re

_ESCAPED = re.compile(r"\\([0-7]{3})")


def filesystem_of(path: str, mountinfo: str = "/proc/self/mountinfo") -> str:
    """Type of the filesystem that holds `path`, e.g. "ext4", "ceph", "fuse.ceph-fuse"; "" when unknown.

    Never touches the filesystem itself. Symbolic links below the mount point are not followed.
    """
    try:
        with open(mountinfo, encoding="utf-8", errors="surrogateescape") as lines:
            return type_in(lines.read(), os.path.normpath(path))
    except OSError:
        return ""


def type_in(mountinfo: str, path: str) -> str:
    """The same, from the text of mountinfo (proc(5)): of several mounts on one point the last one counts."""
    best, found = -1, ""
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields, kind = left.split(), right.split()[:1]
        if len(fields) < 5 or not kind:
            continue
        point = _ESCAPED.sub(lambda m: chr(int(m[1], 8)), fields[4])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= best:
            best, found = len(point), kind[0]
    return found

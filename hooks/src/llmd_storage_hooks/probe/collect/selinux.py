# SPDX-License-Identifier: Apache-2.0
"""Was it SELinux that refused? Owner and mode allow it, the node enforces SELinux, and the labels say what is apart."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from llmd_storage_hooks.probe.facts import SELINUX

PROCESS_LABEL = "/proc/self/attr/current"
ENFORCE = "/sys/fs/selinux/enforce"


def denial(path: Path, info: os.stat_result) -> str:
    """Both labels in words; "" where owner and mode already explain the refusal, or where SELinux enforces nothing."""
    label = _text(PROCESS_LABEL)
    # user:role:type:level. AppArmor has a label of its own there. Many containers do not see whether it is enforced.
    if label.count(":") < 3 or _text(ENFORCE) == "0" or not _mode_allows(info):
        return ""
    try:
        theirs = os.getxattr(path, "security.selinux").decode(errors="replace").rstrip("\0")
    except OSError:
        theirs = "not known"
    return f"owner and mode allow it, {SELINUX} does not: this pod has the label {label}, the file {theirs}"


def _mode_allows(info: os.stat_result) -> bool:
    if os.geteuid() == 0:
        return True
    groups = {os.getegid(), *os.getgroups()}
    bits = stat.S_IMODE(info.st_mode) >> (6 if info.st_uid == os.geteuid() else 3 if info.st_gid in groups else 0)
    wanted = 0o7 if stat.S_ISDIR(info.st_mode) else 0o6
    return bits & wanted == wanted


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        return ""

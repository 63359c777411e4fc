# SPDX-License-Identifier: Apache-2.0
"""Mounts that tests make, and that no run leaves behind: each one's source names the process that made it."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

# Maker, and (for FUSE) server.
_OURS = re.compile(r"faultfs-(?P<maker>\d+)-(?P<server>\d+)")
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8
_libc = ctypes.CDLL(None, use_errno=True)


def mount_points() -> dict[str, str]:
    """{mount point: source}, the topmost mount of each point."""
    found = {}
    for line in Path("/proc/self/mounts").read_text().splitlines():
        source, at = line.split()[:2]
        found[re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), at)] = source
    return found


def unmount(at: Path) -> None:
    """Take away all that is mounted exactly here, without asking the filesystem: one that is gone or hangs too."""
    while str(at) in mount_points():
        if _libc.umount2(os.fsencode(at), _MNT_DETACH | _UMOUNT_NOFOLLOW) != 0:
            error = ctypes.get_errno()
            if error == errno.EINVAL and str(at) not in mount_points():
                return  # another process has just taken it away
            raise OSError(error, os.strerror(error), str(at))


def leftovers() -> list[str]:
    """End and unmount what runs left that were killed. Returns: the mount points, now free."""
    freed = []
    for at, source in mount_points().items():
        ours = _OURS.fullmatch(source)
        if not ours or Path("/proc", ours["maker"]).exists():
            continue
        server = int(ours["server"])
        with contextlib.suppress(OSError):
            if server and Path(f"/proc/{server}/exe").readlink().name == "faultfs":
                os.kill(server, signal.SIGKILL)
        unmount(Path(at))
        freed.append(at)
    return freed


@contextlib.contextmanager
def small(at: Path, size_bytes: int) -> Iterator[Path]:
    """A filesystem in memory that really is full at this size; `mount -o remount,ro` works on it, too."""
    at.mkdir(parents=True, exist_ok=True)
    source = f"faultfs-{os.getpid()}-0"
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", source, str(at)], check=True)
    try:
        yield at
    finally:
        unmount(at.resolve())

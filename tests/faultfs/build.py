# SPDX-License-Identifier: Apache-2.0
"""faultfs.c, compiled once for each content of the source."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "faultfs.c"
CACHE = HERE.parents[1] / "build" / "faultfs"
_FLAGS = ("-O2", "-Wall", "-Wextra", "-Werror")


def missing() -> str:
    """Why faultfs cannot be built or mounted on this machine, or ""."""
    if os.geteuid() != 0 or not Path("/dev/fuse").exists():
        return "needs root and /dev/fuse"
    if not shutil.which("cc") or not shutil.which("pkg-config"):
        return "needs cc and pkg-config"
    if subprocess.run(["pkg-config", "--exists", "fuse3 >= 3.12"], check=False).returncode:
        return "needs libfuse 3.12 with its headers (libfuse3-dev)"
    return ""


@functools.cache
def program() -> Path:
    """The program's path. Raises: RuntimeError saying what this machine lacks; CalledProcessError."""
    if lacks := missing():
        raise RuntimeError(f"faultfs {lacks}")
    digest = hashlib.sha256(SOURCE.read_bytes() + " ".join(_FLAGS).encode()).hexdigest()[:12]
    target = CACHE / digest / "faultfs"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        fuse = subprocess.run(["pkg-config", "--cflags", "--libs", "fuse3"], check=True, capture_output=True, text=True)
        # Two runs may build at once: each its own, and the last one stays.
        new = target.with_name(f"faultfs.{os.getpid()}")
        subprocess.run(["cc", *_FLAGS, "-o", str(new), str(SOURCE), *fuse.stdout.split()], check=True)
        new.replace(target)
    return target

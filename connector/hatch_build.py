# SPDX-License-Identifier: Apache-2.0
"""Compiles native/ into src/llmd_storage_connector/_native, for every processor that vLLM's images are built for.

The compiler is a package of its own (ziglang), needs nothing of the machine, and compiles for all of them on any. What
is there already, from these sources, is not compiled again, and then the compiler is not asked for either.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

COMPILER = "ziglang==0.16.0"
# Without a libc: the library makes its system calls itself. Checks of bounds stay in.
_FLAGS = ("build-lib", "-dynamic", "-O", "ReleaseSafe", "-fstrip")
# File name (native.py chooses among them), target, processor: any x86-64, those since about 2015, any ARMv8.
_TARGETS = (
    ("x86_64.so", "x86_64-linux-none", "x86_64"),
    ("x86_64_v3.so", "x86_64-linux-none", "x86_64_v3"),
    ("aarch64.so", "aarch64-linux-none", "generic"),
)


class NativeCode(BuildHookInterface):
    """Before a wheel is packed, and before the sources themselves are installed."""

    def dependencies(self) -> list[str]:
        return [] if _is_current(Path(self.root)) else [COMPILER]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        if not _is_current(root):
            _compile(root)


def _out(root: Path) -> Path:
    return root / "src" / "llmd_storage_connector" / "_native"


def _digest(root: Path) -> str:
    made_from = hashlib.sha256(repr((COMPILER, _FLAGS, _TARGETS)).encode())
    for source in sorted((root / "native").glob("*.zig")):
        made_from.update(source.name.encode() + b"\0" + source.read_bytes())
    return made_from.hexdigest()


def _is_current(root: Path) -> bool:
    stamp = _out(root) / "sources.sha256"
    return stamp.exists() and stamp.read_text() == _digest(root)


def _compile(root: Path) -> None:
    out = _out(root)
    out.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as work, ThreadPoolExecutor(os.cpu_count()) as pool:
        caches = {"ZIG_GLOBAL_CACHE_DIR": f"{work}/global", "ZIG_LOCAL_CACHE_DIR": f"{work}/local"}

        def one(target: tuple[str, str, str]) -> None:
            name, system, processor = target
            new = f"{work}/{name}"
            command = [sys.executable, "-m", "ziglang", *_FLAGS, "-target", system, "-mcpu", processor]
            command += [f"-femit-bin={new}", str(root / "native" / "lib.zig")]
            subprocess.run(command, check=True, env=os.environ | caches)
            # A process that has the old file mapped keeps it.
            beside = out / f".{name}.new"
            beside.write_bytes(Path(new).read_bytes())
            beside.replace(out / name)

        list(pool.map(one, _TARGETS))
    (out / "sources.sha256").write_text(_digest(root))

# SPDX-License-Identifier: Apache-2.0
"""Opening the cache directory for a command, and finding what an argument means in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from llmd_storage_evictor.cache.directory import CacheDirectory
from llmd_storage_evictor.cache.scanner import Scanner
from llmd_storage_evictor.cli.output import USAGE, stop
from llmd_storage_evictor.core.index import Index
from llmd_storage_evictor.errors import Unavailable

_NEVER_S = float("inf")


def open_cache(root: str) -> CacheDirectory:
    """Ends the command when it cannot be opened."""
    directory = CacheDirectory(root)
    try:
        directory.open()
    except Unavailable as error:
        stop(str(error))
    return directory


def scan(directory: CacheDirectory, threads: int, on_progress: Callable[[], None] = lambda: None) -> Index:
    """Everything that is in the cache. Raises: OSError."""
    index = Index()
    with ThreadPoolExecutor(threads, thread_name_prefix="io") as pool:
        Scanner(directory, index, pool, relist_s=_NEVER_S, rescan_s=_NEVER_S, on_progress=on_progress).scan()
    return index


def chosen(present: Iterable[str], wanted: list[str] | None) -> list[str]:
    """Namespaces whose names begin with one of `wanted`; all when none is given. Ends the command at a wrong one."""
    found = sorted(present)
    if not wanted:
        return found
    for prefix in wanted:
        if not any(name.startswith(prefix) for name in found):
            stop(f"no namespace begins with {prefix!r}; there are: {', '.join(found) or 'none'}", USAGE)
    return [name for name in found if any(name.startswith(prefix) for prefix in wanted)]


def manifest_at(root: str, what: str) -> dict[str, Any]:
    """The manifest that an argument names: a file, or the beginning of a namespace's name. Ends the command."""
    path = Path(what)
    if path.is_dir():
        path /= "manifest.json"
    if path.is_file():
        try:
            found = json.loads(path.read_bytes())
            if isinstance(found, dict) and isinstance(found.get("fields"), dict):
                return found
        except ValueError:
            pass
        stop(f"{path} is not a namespace's manifest", USAGE)
    if not root:
        stop(f"{what!r} is no file; to name a namespace, give --root as well", USAGE)
    directory = open_cache(root)
    names = [name for name in directory.namespaces() if name.startswith(what)]
    if len(names) != 1:
        many = "several namespaces begin" if names else "no namespace begins"
        stop(f"{many} with {what!r}; there are: {', '.join(names or directory.namespaces()) or 'none'}", USAGE)
    manifest = directory.manifest(names[0])
    if manifest is None:
        stop(f"namespace {names[0]} has no manifest (any more)")
    return manifest

# SPDX-License-Identifier: Apache-2.0
"""What the arguments of a command name: the cache directory, namespaces, manifests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from llmd_storage_connector.blocks.format import FORMAT_VERSION
from llmd_storage_evictor.cache.directory import CacheDirectory
from llmd_storage_evictor.cache.scanner import Scanner
from llmd_storage_evictor.cli.output import EXIT_USAGE, fail, print_stderr
from llmd_storage_evictor.core.index import Index
from llmd_storage_evictor.errors import Unavailable

_NEVER_S = float("inf")


def open_cache(root: str) -> CacheDirectory:
    """Open the cache directory, or end the command."""
    directory = CacheDirectory(root)
    try:
        directory.open()
    except Unavailable as error:
        fail(str(error))
    return directory


def scan(directory: CacheDirectory, threads: int, on_progress: Callable[[], None] = lambda: None) -> Index:
    """Index everything in the cache. Raises: OSError."""
    if not directory.namespaces():
        print_stderr(
            f"{directory.root} holds no namespace: nothing was stored yet, or it is not the root_dir of the connector"
        )
    index = Index()
    with ThreadPoolExecutor(threads, thread_name_prefix="io") as pool:
        Scanner(directory, index, pool, relist_s=_NEVER_S, rescan_s=_NEVER_S, on_progress=on_progress).scan()
    return index


def refuse_empty(option: str, value: str) -> None:
    """End the command when an option was given without a value, as an unset variable of a shell is."""
    if not value.strip():
        fail(f"{option} is empty: is a variable unset? Give it a value, or leave the option out", EXIT_USAGE)


def is_of_other_format(manifest: Mapping[str, Any] | None) -> bool:
    """Whether a namespace says that its blocks have a format that this program does not read."""
    fields = manifest["fields"] if manifest else None
    return isinstance(fields, dict) and fields.get("format_version", FORMAT_VERSION) != FORMAT_VERSION


def select_namespaces(present: Iterable[str], wanted: list[str] | None) -> list[str]:
    """Namespaces whose names begin with one of `wanted`; all without it. Ends the command when one matches nothing."""
    found = sorted(present)
    if not wanted:
        return found
    for prefix in wanted:
        refuse_empty("--namespace", prefix)
        if not any(name.startswith(prefix) for name in found):
            fail(f"no namespace begins with {prefix!r}; there are: {', '.join(found) or 'none'}", EXIT_USAGE)
    return [name for name in found if any(name.startswith(prefix) for prefix in wanted)]


def load_manifest(root: str, what: str) -> dict[str, Any]:
    """The manifest in a file, or of the namespace whose name begins with `what`. Ends the command without one."""
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
        fail(f"{path} is not a namespace's manifest", EXIT_USAGE)
    if not root:
        fail(f"{what!r} is not a file; to name a namespace, add --root", EXIT_USAGE)
    directory = open_cache(root)
    names = [name for name in directory.namespaces() if name.startswith(what)]
    if len(names) != 1:
        many = "several namespaces begin" if names else "no namespace begins"
        fail(f"{many} with {what!r}; there are: {', '.join(names or directory.namespaces()) or 'none'}", EXIT_USAGE)
    manifest = directory.manifest(names[0])
    if manifest is None:
        fail(f"namespace {names[0]} has no manifest")
    return manifest

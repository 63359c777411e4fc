# SPDX-License-Identifier: Apache-2.0
"""llmd-kv stats: totals by model and namespace. Writes nothing."""

from __future__ import annotations

import contextlib
import json
import os
import time
from bisect import bisect_right
from collections.abc import Mapping
from typing import Any

from llmd_storage_evictor.cache import names
from llmd_storage_evictor.cache.directory import CacheDirectory, read_file
from llmd_storage_evictor.cli import arguments, output
from llmd_storage_evictor.cli.output import OutputFormat, OutputOption, RootArgument, ThreadsOption
from llmd_storage_evictor.core.index import Index
from llmd_storage_evictor.core.manifests import model_of, title_of
from llmd_storage_evictor.core.policy import NamespaceUsage
from llmd_storage_evictor.sizes import show_bytes, show_seconds

# Ages in seconds: the shares of blocks used within them show how much of the cache is in use.
_AGES = {"1h": 3600.0, "1d": 86400.0, "7d": 7 * 86400.0}


def stats(root: RootArgument, threads: ThreadsOption = 8, output_: OutputOption = OutputFormat.TABLE) -> None:
    """Show what each model and namespace holds, its share of the cache, and when it was last used.

    Example: llmd-kv stats /mnt/kv-cache/blocks
    """
    directory = arguments.open_cache(root)
    with output.progress("folders", max(1, len(directory.namespaces()) * len(names.BLOCK_FOLDERS))) as bar:
        index = arguments.scan(directory, threads, bar.advance)
    found = _collect(directory, index)
    if output_ is OutputFormat.JSON:
        output.show_json(found)
        return
    rows = [
        (
            one["namespace"][:12],
            one["model"] or "(no manifest)",
            one["files"],
            show_bytes(one["bytes"]),
            show_seconds(one["oldest_s"]) if one["files"] else "-",
            show_seconds(one["newest_s"]) if one["files"] else "-",
            *(f"{one['used_within'][age]:.0%}" for age in _AGES),
            show_bytes(one["damaged_bytes"]),
        )
        for one in found["namespaces"]
    ]
    columns = [
        "namespace",
        "model",
        "files",
        "bytes",
        "oldest",
        "newest",
        *(f"used < {age}" for age in _AGES),
        "damaged",
    ]
    output.show_table(columns, rows, right=columns[2:])
    by_model = [
        (
            one["model"] or "(no manifest)",
            one["namespaces"],
            one["files"],
            show_bytes(one["bytes"]),
            f"{one['share']:.0%}",
        )
        for one in found["models"]
    ]
    output.show_table(
        ["model", "namespaces", "files", "bytes", "share"], by_model, right=["namespaces", "files", "bytes", "share"]
    )
    output.show_pairs(
        {
            "total": f"{found['files']} blocks, {show_bytes(found['bytes'])}, {found['unknown_files']} unknown files",
            "filesystem": f"{show_bytes(found['free_bytes'])} free of {show_bytes(found['filesystem_bytes'])}",
            "evictor": found["evictor"] or "none has run here",
        }
    )


def _collect(directory: CacheDirectory, index: Index) -> dict[str, Any]:
    now, usage = time.time(), index.usage()
    total, free, _ = directory.space()
    manifests = {name: directory.manifest(name) for name in usage}
    return {
        "root": str(directory.root),
        "files": sum(held.files for held in usage.values()),
        "bytes": sum(held.bytes for held in usage.values()),
        "unknown_files": index.unknown_files(),
        "filesystem_bytes": total,
        "free_bytes": free,
        "evictor": _leader(directory),
        "models": _by_model({name: title_of(one) for name, one in manifests.items()}, usage),
        "namespaces": [
            {
                "namespace": name,
                "model": title_of(manifests[name]),
                "model_id": model_of(manifests[name]),
                "files": held.files,
                "bytes": held.bytes,
                "damaged_bytes": held.damaged_bytes,
                "oldest_s": max(0.0, now - held.oldest_ns / 1e9) if held.files else 0.0,
                "newest_s": max(0.0, now - held.newest_ns / 1e9) if held.files else 0.0,
                "used_within": _used_within(index, name, now),
            }
            for name, held in sorted(usage.items(), key=lambda item: -item[1].bytes)
        ],
    }


def _by_model(titles: Mapping[str, str], usage: Mapping[str, NamespaceUsage]) -> list[dict[str, Any]]:
    """Who uses the disk: largest first."""
    total = sum(held.bytes for held in usage.values())
    found = []
    for title in sorted(set(titles.values())):
        held = [usage[name] for name, one in titles.items() if one == title]
        size = sum(one.bytes for one in held)
        files = sum(one.files for one in held)
        share = size / total if total else 0.0
        found.append({"model": title, "namespaces": len(held), "files": files, "bytes": size, "share": share})
    return sorted(found, key=lambda one: -one["bytes"])


def _used_within(index: Index, namespace: str, now: float) -> dict[str, float]:
    """The share of blocks last used within each age."""
    mtimes = sorted(
        mtime for name, folder in index.folders(namespace).items() if name != "damaged" for mtime in folder.mtimes
    )
    newer = {age: len(mtimes) - bisect_right(mtimes, int((now - limit) * 1e9)) for age, limit in _AGES.items()}
    return {age: count / len(mtimes) if mtimes else 0.0 for age, count in newer.items()}


def _leader(directory: CacheDirectory) -> str:
    """Who leads, according to the lease file on the storage; "" when no evictor has run here."""
    with contextlib.suppress(OSError, ValueError), directory.folder(names.STATE_FOLDER) as fd:
        found = sorted(
            (name for name in os.listdir(fd) if name.startswith("leader-")), key=lambda name: (len(name), name)
        )
        if found:
            age_s = time.time() - os.stat(found[-1], dir_fd=fd, follow_symlinks=False).st_mtime
            text = read_file(fd, found[-1], 4096)
            holder = json.loads(text).get("holder", "?") if text else "?"
            return f"{holder}, {found[-1]}, last renewed {show_seconds(max(0.0, age_s))} ago"
    return ""

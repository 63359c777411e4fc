# SPDX-License-Identifier: Apache-2.0
"""llmd-kv evict: remove blocks by hand."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import typer

from llmd_storage_evictor.cache import remover
from llmd_storage_evictor.cache.directory import CacheDirectory
from llmd_storage_evictor.cache.journal import Journal
from llmd_storage_evictor.cli import arguments, output
from llmd_storage_evictor.cli.output import NamespaceOption, OutputFormat, OutputOption, RootArgument, ThreadsOption
from llmd_storage_evictor.core import policy
from llmd_storage_evictor.core.index import Index
from llmd_storage_evictor.core.policy import Entry, EvictionTask, NamespaceUsage, Reason
from llmd_storage_evictor.sizes import bytes_of, seconds_of, show_bytes

_JOURNAL_BYTES = 32 << 20
_BATCH = 4096


def evict(
    root: RootArgument,
    *,
    namespace: NamespaceOption = None,
    older_than: Annotated[str, typer.Option("--older-than", help="Blocks not used for this long: 12h, 30d.")] = "0",
    free: Annotated[str | None, typer.Option("--free", help="Stop when this much is freed: 500Gi.")] = None,
    down_to: Annotated[str | None, typer.Option("--down-to", help="Stop when only this much is left: 2Ti.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove. Without it, only show what would be removed.")] = False,
    threads: ThreadsOption = 8,
    output_: OutputOption = OutputFormat.TABLE,
) -> None:
    """Remove blocks by age, namespace and size, least recently used first. A dry run without --yes.

    Pins, quotas and minimums of the evictor's configuration do not apply.

    Example: llmd-kv evict /mnt/kv-cache/blocks --older-than 30d --yes
    """
    for option, value in (("--free", free), ("--down-to", down_to), ("--older-than", older_than)):
        if value is not None:
            arguments.refuse_empty(option, value)
    if not (namespace or free or down_to) and older_than == "0":
        output.fail("select what to remove with --older-than, --namespace, --free or --down-to", output.EXIT_USAGE)
    try:
        age_s, size = seconds_of(older_than), bytes_of(free) if free else None
        left = bytes_of(down_to) if down_to else None
    except ValueError as error:
        output.fail(str(error), output.EXIT_USAGE)
    directory = arguments.open_cache(root)
    index = arguments.scan(directory, threads)
    usage = {name: index.usage()[name] for name in arguments.select_namespaces(index.namespaces(), namespace)}
    entries = _select(index, usage, age_s, size, left)
    removed = _remove(directory, entries, threads) if yes else []
    result: dict[str, Any] = {
        "dry_run": not yes,
        "chosen_files": len(entries),
        "chosen_bytes": sum(entry.size for entry in entries),
        "by_namespace": Counter(entry.namespace for entry in entries),
        "removed_files": sum(len(one.removed) for one in removed),
        "skipped_files": sum(len(one.refreshed) for one in removed),
        "failed_files": sum(len(one.failed) for one in removed),
    }
    if output_ is OutputFormat.JSON:
        output.show_json(result)
    else:
        rows = [(name[:12], count) for name, count in sorted(result["by_namespace"].items())]
        output.show_table(["namespace", "files"], rows, right=["files"])
        verb = "selected" if yes else "would be removed (--yes removes them)"
        print(f"{len(entries)} files, {show_bytes(result['chosen_bytes'])}, {verb}")
        if yes:
            print(
                "{removed_files} removed, {skipped_files} skipped (used meanwhile), {failed_files} failed".format(
                    **result
                )
            )
    if result["failed_files"]:
        raise typer.Exit(output.EXIT_FAILURE)


def _select(
    index: Index, usage: dict[str, NamespaceUsage], age_s: float, size: int | None, left: int | None
) -> list[Entry]:
    """Entries in eviction order. Damaged files are left to the evictor."""
    needs = [] if size is None else [size]
    if left is not None:
        needs.append(sum(held.bytes for held in usage.values()) - left)
    if needs and min(needs) <= 0:
        return []
    task = EvictionTask(Reason.ASKED, frozenset(usage), min(needs) if needs else None, age_s, damaged=False)
    everything = sum(len(folder.ids) for name in usage for folder in index.folders(name).values())
    return policy.select(task, index.candidates(usage, everything), usage, time.time_ns())


def _remove(directory: CacheDirectory, entries: list[Entry], threads: int) -> list[remover.RemovalResult]:
    results: list[remover.RemovalResult] = []
    journal = Journal(directory, _JOURNAL_BYTES)
    with (
        ThreadPoolExecutor(threads, thread_name_prefix="io") as pool,
        output.progress("files", len(entries)) as bar,
    ):
        for start in range(0, len(entries), _BATCH):
            part = remover.remove(directory, pool, entries[start : start + _BATCH], lambda: True)
            keys: dict[str, list[str]] = {}
            for one in part:
                keys.setdefault(one.namespace, []).extend(name.rpartition(".")[0] for name, _ in one.removed)
            for name, gone in keys.items():
                try:
                    journal.append(name, Reason.ASKED.value, gone)
                except OSError as error:
                    output.print_stderr(f"the journal cannot be written: {error}")
            results += part
            bar.advance(min(_BATCH, len(entries) - start))
    return results

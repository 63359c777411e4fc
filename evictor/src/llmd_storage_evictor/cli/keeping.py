# SPDX-License-Identifier: Apache-2.0
"""verify, evict, migrate: commands that may change what is there, when told to."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import typer

from llmd_storage_connector.blocks.format import FORMAT_VERSION
from llmd_storage_evictor import blocks, names, policy, remover
from llmd_storage_evictor.cli import output, places
from llmd_storage_evictor.cli.looking import ThreadsOption
from llmd_storage_evictor.cli.output import Form, NamespaceOption, OutputOption, RootArgument
from llmd_storage_evictor.index import Index
from llmd_storage_evictor.journal import Journal
from llmd_storage_evictor.policy import Entry, Reason, Share, Task
from llmd_storage_evictor.sizes import bytes_of, seconds_of, show_bytes
from llmd_storage_evictor.tree import Tree

_JOURNAL_BYTES = 32 << 20
_BATCH = 4096


def verify(
    root: RootArgument,
    *,
    namespace: NamespaceOption = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Set damaged files aside, so that they are stored anew.")
    ] = False,
    state: Annotated[
        Path | None,
        typer.Option("--state", help="File that remembers finished folders: with it a broken-off run goes on."),
    ] = None,
    threads: ThreadsOption = 8,
    output_: OutputOption = Form.TABLE,
) -> None:
    """Read every block and check it. Exit code 1 when one is damaged.

    Example: llmd-kv verify /mnt/kv-cache/blocks --repair --state /tmp/verify
    """
    tree = places.open_tree(root)
    done = set(state.read_text(encoding="utf-8").split()) if state and state.exists() else set()
    work = [
        (name, folder)
        for name in places.chosen(tree.namespaces(), namespace)
        for folder in names.FOLDERS
        if folder != "damaged" and f"{name}/{folder}" not in done
    ]
    checked, size, damaged, unread = 0, 0, [], []
    began = time.monotonic()
    with (
        ThreadPoolExecutor(threads, thread_name_prefix="io") as pool,
        output.progress("folders", len(work)) as bar,
    ):
        for (name, folder), found in zip(
            work, pool.map(lambda one: _verify(tree, one[0], one[1], repair), work), strict=True
        ):
            checked, size = checked + found["checked"], size + found["bytes"]
            damaged += found["damaged"]
            unread += found["unread"]
            # What is still damaged or unread is looked at again by the next run, and said again.
            if state and not found["unread"] and (repair or not found["damaged"]):
                with state.open("a", encoding="utf-8") as file:
                    file.write(f"{name}/{folder}\n")
            bar.step()
    seconds = time.monotonic() - began
    result = {
        "checked": checked, "bytes": size, "seconds": round(seconds, 3), "skipped_folders": len(done),
        "damaged": damaged, "unread": unread, "repaired": repair,
    }  # fmt: skip
    if output_ is Form.JSON:
        output.show_json(result)
    else:
        _show_verified(result)
    if damaged or unread:
        raise typer.Exit(output.FOUND)


def _verify(tree: Tree, namespace: str, folder: str, repair: bool) -> dict[str, Any]:
    """One folder. Never raises: what cannot be read is said."""
    found: dict[str, Any] = {"checked": 0, "bytes": 0, "damaged": [], "unread": []}
    try:
        for block in blocks.each(tree, namespace, folder):
            place = {"namespace": namespace, "key": block.key}
            try:
                fault = blocks.fault(tree, block)
                if fault and repair:
                    blocks.set_aside(tree, block)
            except OSError as error:
                found["unread"].append(place | {"error": str(error)})
                continue
            found["checked"] += 1
            found["bytes"] += block.size
            if fault:
                found["damaged"].append(place | {"rule": fault})
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        found["unread"].append({"namespace": namespace, "key": f"{folder}/", "error": str(error)})
    return found


def _show_verified(result: dict[str, Any]) -> None:
    for kind, detail in (("damaged", "rule"), ("unread", "error")):
        if result[kind]:
            rows = [(one["namespace"][:12], one["key"], one[detail]) for one in result[kind]]
            output.show_table(["namespace", kind, detail], rows)
    what = "set aside" if result["repaired"] else "left where they are (--repair sets them aside)"
    speed = result["bytes"] / max(result["seconds"], 1e-3)
    print(f"{result['checked']} blocks checked, {show_bytes(result['bytes'])}, {show_bytes(speed)}/s")
    if result["damaged"]:
        print(f"{len(result['damaged'])} are damaged, {what}")
    if result["skipped_folders"]:
        print(f"{result['skipped_folders']} folders were checked by an earlier run")


def evict(
    root: RootArgument,
    *,
    namespace: NamespaceOption = None,
    older_than: Annotated[str, typer.Option("--older-than", help="Not used for so long: 12h, 30d.")] = "0",
    free: Annotated[str, typer.Option("--free", help="Only as many, oldest first, as free this size: 500Gi.")] = "",
    down_to: Annotated[str, typer.Option("--down-to", help="Only until so much is left: 2Ti.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Remove. Without it, what would go is said.")] = False,
    threads: ThreadsOption = 8,
    output_: OutputOption = Form.TABLE,
) -> None:
    """Remove blocks by age, namespace and size, least recently used first. A dry run unless --yes is given.

    Pins, quotas and minimums of the evictor's configuration do not hold here: you choose.

    Example: llmd-kv evict /mnt/kv-cache/blocks --older-than 30d --yes
    """
    if not (namespace or free or down_to) and older_than == "0":
        output.stop("say what has to go: --older-than, --namespace, --free or --down-to", output.USAGE)
    try:
        age_s, size = seconds_of(older_than), bytes_of(free) if free else None
        left = bytes_of(down_to) if down_to else None
    except ValueError as error:
        output.stop(str(error), output.USAGE)
    tree = places.open_tree(root)
    index = places.scan(tree, threads)
    shares = {name: index.shares()[name] for name in places.chosen(index.namespaces(), namespace)}
    entries = _to_evict(index, shares, age_s, size, left)
    removed = _remove(tree, entries, threads) if yes else []
    result: dict[str, Any] = {
        "dry_run": not yes,
        "chosen_files": len(entries),
        "chosen_bytes": sum(entry.size for entry in entries),
        "by_namespace": Counter(entry.namespace for entry in entries),
        "removed_files": sum(len(one.removed) for one in removed),
        "spared_files": sum(len(one.touched) for one in removed),
        "failed_files": sum(len(one.failed) for one in removed),
    }
    if output_ is Form.JSON:
        output.show_json(result)
    else:
        rows = [(name[:12], count) for name, count in sorted(result["by_namespace"].items())]
        output.show_table(["namespace", "files"], rows, right=["files"])
        verb = "were chosen" if yes else "would go (--yes removes them)"
        print(f"{len(entries)} files, {show_bytes(result['chosen_bytes'])}, {verb}")
        if yes:
            print("{removed_files} removed, {spared_files} used meanwhile, {failed_files} failed".format(**result))
    if result["failed_files"]:
        raise typer.Exit(output.FOUND)


def _to_evict(index: Index, shares: dict[str, Share], age_s: float, size: int | None, left: int | None) -> list[Entry]:
    """In order of removal; damaged files are left to the evictor."""
    needs = [] if size is None else [size]
    if left is not None:
        needs.append(sum(share.bytes for share in shares.values()) - left)
    if needs and min(needs) <= 0:
        return []
    task = Task(Reason.ASKED, frozenset(shares), min(needs) if needs else None, age_s, damaged=False)
    everything = sum(len(folder.ids) for name in shares for folder in index.folders(name).values())
    return policy.choose(task, index.first(shares, everything), shares, time.time_ns())


def _remove(tree: Tree, entries: list[Entry], threads: int) -> list[remover.Removal]:
    results: list[remover.Removal] = []
    journal = Journal(tree, _JOURNAL_BYTES)
    with (
        ThreadPoolExecutor(threads, thread_name_prefix="io") as pool,
        output.progress("files", len(entries)) as bar,
    ):
        for start in range(0, len(entries), _BATCH):
            part = remover.remove(tree, pool, entries[start : start + _BATCH], lambda: True)
            keys: dict[str, list[str]] = {}
            for one in part:
                keys.setdefault(one.namespace, []).extend(name.rpartition(".")[0] for name, _ in one.removed)
            for name, gone in keys.items():
                try:
                    journal.append(name, Reason.ASKED.value, gone)
                except OSError as error:
                    output.note(f"the journal cannot be written: {error}")
            results += part
            bar.step(min(_BATCH, len(entries) - start))
    return results


def migrate(root: RootArgument, output_: OutputOption = Form.TABLE) -> None:
    """Bring blocks to the newest format version.

    Example: llmd-kv migrate /mnt/kv-cache/blocks
    """
    tree = places.open_tree(root)
    versions = Counter(
        manifest["fields"].get("format_version") for name in tree.namespaces() if (manifest := tree.manifest(name))
    )
    if output_ is Form.JSON:
        output.show_json({"newest": FORMAT_VERSION, "namespaces": versions, "migrated": 0})
        return
    there = ", ".join(f"version {version}: {count} namespaces" for version, count in sorted(versions.items()))
    print(f"Nothing to do: version {FORMAT_VERSION} is the only one there is. Found {there or 'no namespaces'}.")

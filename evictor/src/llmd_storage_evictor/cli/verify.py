# SPDX-License-Identifier: Apache-2.0
"""llmd-kv verify: read and check every block."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import typer

from llmd_storage_connector.blocks.format import FORMAT_VERSION
from llmd_storage_evictor.cache import blocks, names
from llmd_storage_evictor.cache.directory import CacheDirectory
from llmd_storage_evictor.cli import arguments, output
from llmd_storage_evictor.cli.output import NamespaceOption, OutputFormat, OutputOption, RootArgument, ThreadsOption
from llmd_storage_evictor.sizes import show_bytes


def verify(
    root: RootArgument,
    *,
    namespace: NamespaceOption = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Move damaged blocks to damaged/, so that engines store them anew.")
    ] = False,
    state: Annotated[
        Path | None,
        typer.Option("--state", help="File that records finished folders: an interrupted run resumes from it."),
    ] = None,
    threads: ThreadsOption = 8,
    output_: OutputOption = OutputFormat.TABLE,
) -> None:
    """Read every block and check it. Exit code 1 when one is damaged.

    Example: llmd-kv verify /mnt/kv-cache/blocks --repair --state /tmp/verify
    """
    directory = arguments.open_cache(root)
    done = set(state.read_text(encoding="utf-8").split()) if state and state.exists() else set()
    selected = arguments.select_namespaces(directory.namespaces(), namespace)
    # While versions are mixed: to this program the good blocks of a later one look damaged.
    foreign = [name for name in selected if arguments.is_of_other_format(directory.manifest(name))]
    work = [
        (name, folder)
        for name in selected
        if name not in foreign
        for folder in names.BLOCK_FOLDERS
        if folder != "damaged" and f"{name}/{folder}" not in done
    ]
    checked, size, damaged, unread = 0, 0, [], []
    began = time.monotonic()
    with (
        ThreadPoolExecutor(threads, thread_name_prefix="io") as pool,
        output.progress("folders", len(work)) as bar,
    ):
        for (name, folder), found in zip(
            work, pool.map(lambda one: _verify_folder(directory, one[0], one[1], repair), work), strict=True
        ):
            checked, size = checked + found["checked"], size + found["bytes"]
            damaged += found["damaged"]
            unread += found["unread"]
            # A folder with damaged or unreadable blocks is not recorded: the next run reports them again.
            if state and not found["unread"] and (repair or not found["damaged"]):
                with state.open("a", encoding="utf-8") as file:
                    file.write(f"{name}/{folder}\n")
            bar.advance()
    seconds = time.monotonic() - began
    result = {
        "checked": checked, "bytes": size, "seconds": round(seconds, 3), "skipped_folders": len(done),
        "damaged": damaged, "unread": unread, "repaired": repair, "other_format": foreign,
    }  # fmt: skip
    if output_ is OutputFormat.JSON:
        output.show_json(result)
    else:
        _show_result(result)
    if damaged or unread:
        raise typer.Exit(output.EXIT_FAILURE)


def _verify_folder(directory: CacheDirectory, namespace: str, folder: str, repair: bool) -> dict[str, Any]:
    """Verify one folder. Read errors are part of the result."""
    found: dict[str, Any] = {"checked": 0, "bytes": 0, "damaged": [], "unread": []}
    try:
        for block in blocks.list_blocks(directory, namespace, folder):
            place = {"namespace": namespace, "key": block.key}
            try:
                rule = blocks.broken_rule(directory, block)
                if rule and repair:
                    blocks.quarantine(directory, block)
            except OSError as error:
                found["unread"].append(place | {"error": str(error)})
                continue
            found["checked"] += 1
            found["bytes"] += block.size
            if rule:
                found["damaged"].append(place | {"rule": rule})
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        found["unread"].append({"namespace": namespace, "key": f"{folder}/", "error": str(error)})
    return found


def _show_result(result: dict[str, Any]) -> None:
    for kind, detail in (("damaged", "rule"), ("unread", "error")):
        if result[kind]:
            rows = [(one["namespace"][:12], one["key"], one[detail]) for one in result[kind]]
            output.show_table(["namespace", kind, detail], rows)
    what = "moved to damaged/" if result["repaired"] else "not moved (--repair moves them to damaged/)"
    speed = result["bytes"] / max(result["seconds"], 1e-3)
    print(f"{result['checked']} blocks checked, {show_bytes(result['bytes'])}, {show_bytes(speed)}/s")
    if result["damaged"]:
        print(f"{len(result['damaged'])} are damaged, {what}")
    if result["skipped_folders"]:
        print(f"{result['skipped_folders']} folders were checked by an earlier run")
    if result["other_format"]:
        shown = ", ".join(name[:12] for name in result["other_format"])
        print(
            f"Not checked: {shown}, of another block format than {FORMAT_VERSION}. Use the llmd-kv of what stores there"
        )

# SPDX-License-Identifier: Apache-2.0
"""llmd-kv ls: block files. Writes nothing."""

from __future__ import annotations

import contextlib
from typing import Annotated

import typer

from llmd_storage_evictor.cache import blocks, names
from llmd_storage_evictor.cli import arguments, output
from llmd_storage_evictor.cli.output import NamespaceOption, OutputFormat, OutputOption, RootArgument
from llmd_storage_evictor.sizes import show_seconds


def ls(
    root: RootArgument,
    *,
    namespace: NamespaceOption = None,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Maximum number of lines; 0: all.")] = 100,
    damaged: Annotated[bool, typer.Option("--damaged", help="List damaged blocks (in quarantine) instead.")] = False,
    output_: OutputOption = OutputFormat.TABLE,
) -> None:
    """List block files, one a line.

    Example: llmd-kv ls /mnt/kv-cache/blocks --namespace 3f2a --limit 0
    """
    directory = arguments.open_cache(root)
    rows = []
    for name in arguments.select_namespaces(directory.namespaces(), namespace):
        for folder in names.BLOCK_FOLDERS:
            if (folder == "damaged") != damaged:
                continue
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                for block in blocks.list_blocks(directory, name, folder):
                    rows.append(block)
                    if limit and len(rows) >= limit:
                        return _show(rows, output_)
    return _show(rows, output_)


def _show(rows: list[blocks.BlockFile], output_format: OutputFormat) -> None:
    if output_format is OutputFormat.JSON:
        keys = ("namespace", "folder", "key", "size", "age_s")
        output.show_json({"blocks": [{key: getattr(block, key) for key in keys} for block in rows]})
        return
    output.show_table(
        ["namespace", "key", "bytes", "last used"],
        [(block.namespace[:12], block.key, block.size, show_seconds(block.age_s)) for block in rows],
        right=["bytes", "last used"],
    )

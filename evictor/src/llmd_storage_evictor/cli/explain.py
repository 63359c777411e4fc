# SPDX-License-Identifier: Apache-2.0
"""llmd-kv explain: why two namespaces do not share. Writes nothing."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from llmd_storage_evictor.cli import arguments, output
from llmd_storage_evictor.cli.output import OutputFormat, OutputOption
from llmd_storage_evictor.core.manifests import differences


def explain(
    a: Annotated[str, typer.Argument(help="A namespace (the beginning of its name is enough), or a manifest.json.")],
    b: Annotated[str, typer.Argument(help="Another one.")],
    root: Annotated[str, typer.Option("--root", envvar="LLMD_KV_ROOT", help="The cache directory.")] = "",
    output_: OutputOption = OutputFormat.TABLE,
) -> None:
    """Explain why two namespaces (two pods) do not share blocks. Exit code 1 when they differ.

    Example: llmd-kv explain 3f2a 9c01 --root /mnt/kv-cache/blocks
    """
    one, other = (arguments.load_manifest(root, what) for what in (a, b))
    found = differences(one["fields"], other["fields"])
    if output_ is OutputFormat.JSON:
        keys = ("field", "description", "a", "b", "remedy")
        output.show_json({"differences": [{key: getattr(item, key) for key in keys} for item in found]})
    elif not found:
        print("No difference: both have the same identity and share every block.")
    else:
        rows = [(item.description, item.field, _short_json(item.a), _short_json(item.b), item.remedy) for item in found]
        output.show_table(["what differs", "field", "A", "B", "to share, you could"], rows)
    if found:
        raise typer.Exit(output.EXIT_FAILURE)


def _short_json(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."

# SPDX-License-Identifier: Apache-2.0
"""llmd-kv explain."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from llmd_storage_evictor.cli import arguments, output
from llmd_storage_evictor.cli.output import Form, OutputOption
from llmd_storage_evictor.core.manifests import differences


def explain(
    a: Annotated[str, typer.Argument(help="A namespace (the beginning of its name), or a manifest.json.")],
    b: Annotated[str, typer.Argument(help="Another one.")],
    root: Annotated[str, typer.Option("--root", envvar="LLMD_KV_ROOT", help="The cache directory.")] = "",
    output_: OutputOption = Form.TABLE,
) -> None:
    """Why two namespaces (so, two pods) do not share blocks: what differs, in words. Exit code 1 when something does.

    Example: llmd-kv explain 3f2a 9c01 --root /mnt/kv-cache/blocks
    """
    one, other = (arguments.manifest_at(root, what) for what in (a, b))
    found = differences(one["fields"], other["fields"])
    if output_ is Form.JSON:
        keys = ("field", "words", "a", "b", "remedy")
        output.show_json([{key: getattr(item, key) for key in keys} for item in found])
    elif not found:
        print("Nothing differs: they are one identity and share every block.")
    else:
        rows = [(item.words, item.field, _shown(item.a), _shown(item.b), item.remedy) for item in found]
        output.show_table(["what differs", "field", "A", "B", "to share, you could"], rows)
    if found:
        raise typer.Exit(output.FOUND)


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."

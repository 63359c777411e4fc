# SPDX-License-Identifier: Apache-2.0
"""llmd-kv migrate: block format versions."""

from __future__ import annotations

from collections import Counter

from llmd_storage_connector.blocks.format import FORMAT_VERSION
from llmd_storage_evictor.cli import arguments, output
from llmd_storage_evictor.cli.output import OutputFormat, OutputOption, RootArgument


def migrate(root: RootArgument, output_: OutputOption = OutputFormat.TABLE) -> None:
    """Convert blocks to the newest format version. There is only one so far.

    Example: llmd-kv migrate /mnt/kv-cache/blocks
    """
    directory = arguments.open_cache(root)
    versions = Counter(
        manifest["fields"].get("format_version")
        for name in directory.namespaces()
        if (manifest := directory.manifest(name))
    )
    if output_ is OutputFormat.JSON:
        output.show_json({"newest": FORMAT_VERSION, "namespaces": versions, "migrated": 0})
        return
    there = ", ".join(f"version {version}: {count} namespaces" for version, count in sorted(versions.items(), key=str))
    print(f"Nothing to do: this program knows version {FORMAT_VERSION} only. Found {there or 'no namespaces'}.")

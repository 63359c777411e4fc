# SPDX-License-Identifier: Apache-2.0
"""llmd-kv bench: speed of the storage."""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict
from typing import Annotated

import typer

from llmd_storage_evictor.cli import output
from llmd_storage_evictor.cli.output import OutputFormat, OutputOption, RootArgument
from llmd_storage_evictor.sizes import bytes_of
from llmd_storage_evictor.sizing.storage_speed import SpeedResult, measure_fio, measure_store


def bench(
    root: RootArgument,
    *,
    size: Annotated[str, typer.Option("--size", help="Size of one block.")] = "8Mi",
    count: Annotated[int, typer.Option("--count", min=1, help="Number of blocks to write, then read.")] = 64,
    threads: Annotated[int, typer.Option("--threads", min=1, max=128, help="Number of blocks at the same time.")] = 8,
    with_fio: Annotated[bool, typer.Option("--fio/--no-fio", help="Also run fio, if it is installed.")] = True,
    output_: OutputOption = OutputFormat.TABLE,
) -> None:
    """Measure the storage through the connector's own store, in a temporary folder.

    Where direct I/O does not work, reads may come from this node's page cache. fio bypasses it if the filesystem
    allows.

    Example: llmd-kv bench /mnt/kv-cache/blocks --size 16Mi --threads 16
    """
    try:
        length = bytes_of(size)
        results = measure_store(root, length, count, threads)
        if with_fio and shutil.which("fio"):
            results |= measure_fio(root, length, count, threads)
    except ValueError as error:
        output.fail(str(error), output.EXIT_USAGE)
    except OSError as error:
        output.fail(f"{root} cannot be measured: {error.strerror or error}", output.EXIT_FAILURE)
    if output_ is OutputFormat.JSON:
        output.show_json({name: asdict(one) for name, one in results.items()})
        return
    output.show_table(
        ["what", "MiB/s", "median ms", "99% ms", "note"],
        [(name, f"{one.mib_s:.0f}" if one.mib_s else "-", *_latencies(one), one.note) for name, one in results.items()],
        right=["MiB/s", "median ms", "99% ms"],
    )
    if with_fio and not shutil.which("fio"):
        output.print_stderr(f"fio is not installed (PATH={os.environ.get('PATH', '')})")


def _latencies(one: SpeedResult) -> tuple[str, str]:
    return f"{one.median_ms:.1f}", f"{one.p99_ms:.1f}"

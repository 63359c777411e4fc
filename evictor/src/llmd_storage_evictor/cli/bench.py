# SPDX-License-Identifier: Apache-2.0
"""llmd-kv bench."""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict
from typing import Annotated

import typer

from llmd_storage_evictor.cli import output
from llmd_storage_evictor.cli.output import Form, OutputOption, RootArgument
from llmd_storage_evictor.sizes import bytes_of
from llmd_storage_evictor.sizing.storage_speed import Measured, fio, through_store


def bench(
    root: RootArgument,
    *,
    size: Annotated[str, typer.Option("--size", help="Bytes of one block.")] = "8Mi",
    count: Annotated[int, typer.Option("--count", min=1, help="Blocks that are written, then read.")] = 64,
    threads: Annotated[int, typer.Option("--threads", min=1, max=128, help="Blocks at the same time.")] = 8,
    with_fio: Annotated[bool, typer.Option("--fio/--no-fio", help="Run fio beside it, if it is there.")] = True,
    output_: OutputOption = Form.TABLE,
) -> None:
    """Measure the storage through the connector's own store, in a scratch folder that is removed again.

    What this node has just written, it may read from memory: where direct I/O does not work, read figures are those of
    the page cache. fio reads past it if the filesystem lets it.

    Example: llmd-kv bench /mnt/kv-cache/blocks --size 16Mi --threads 16
    """
    try:
        length = bytes_of(size)
        results = through_store(root, length, count, threads)
        if with_fio and shutil.which("fio"):
            results |= fio(root, length, count, threads)
    except ValueError as error:
        output.stop(str(error), output.USAGE)
    except OSError as error:
        output.stop(f"{root} cannot be measured: {error.strerror or error}", output.FOUND)
    if output_ is Form.JSON:
        output.show_json({name: asdict(one) for name, one in results.items()})
        return
    output.show_table(
        ["what", "MiB/s", "median ms", "99% ms", "note"],
        [(name, f"{one.mib_s:.0f}" if one.mib_s else "-", *_times(one), one.note) for name, one in results.items()],
        right=["MiB/s", "median ms", "99% ms"],
    )
    if with_fio and not shutil.which("fio"):
        output.note(f"fio is not there to compare with (PATH={os.environ.get('PATH', '')})")


def _times(one: Measured) -> tuple[str, str]:
    return f"{one.median_ms:.1f}", f"{one.p99_ms:.1f}"

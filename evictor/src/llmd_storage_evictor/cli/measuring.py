# SPDX-License-Identifier: Apache-2.0
"""plan, bench: what a storage is worth."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from llmd_storage_evictor.cli import output
from llmd_storage_evictor.cli.output import Form, OutputOption, RootArgument
from llmd_storage_evictor.errors import Misconfigured
from llmd_storage_evictor.measure import Measured, fio, through_store
from llmd_storage_evictor.planning import ModelKv, Plan, model_kv, verdict
from llmd_storage_evictor.planning import plan as plan_of
from llmd_storage_evictor.sizes import bytes_of, show_bytes, show_seconds

_MEASURE_BYTES, _MEASURE_COUNT = 8 << 20, 32


def plan(
    model: Annotated[Path, typer.Argument(help="A model's config.json, or the directory it is in.")],
    *,
    tokens: Annotated[int, typer.Option("--tokens", min=1, help="Tokens of a shared prefix.")] = 32768,
    block_tokens: Annotated[int, typer.Option("--block-tokens", min=1, help="Tokens of one block file.")] = 256,
    kv_dtype: Annotated[str, typer.Option("--kv-dtype", help="auto: the model's own; or fp8, bfloat16, ...")] = "auto",
    capacity: Annotated[str, typer.Option("--capacity", help="Size of the cache: 2Ti.")] = "",
    storage_mib_s: Annotated[float, typer.Option("--storage-mib-s", min=0, help="Read speed of the storage.")] = 0.0,
    measure: Annotated[
        str, typer.Option("--measure", help="Measure that speed in this directory instead (256 MiB are written).")
    ] = "",
    prefill_tokens_s: Annotated[float, typer.Option("--prefill-tokens-s", min=0, help="Prefill speed of a pod.")] = 0.0,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Write a picture: load against compute, by storage speed.")
    ] = None,
    output_: OutputOption = Form.TABLE,
) -> None:
    """Is a shared cache worth it for this model on this storage? Bytes, sizes, times.

    Example: llmd-kv plan Qwen3-32B/config.json --storage-mib-s 2000 --prefill-tokens-s 8000 --capacity 18000Gi
    """
    try:
        kv = model_kv(_config(model), kv_dtype)
        if measure:
            storage_mib_s = through_store(measure, _MEASURE_BYTES, _MEASURE_COUNT, 8)["read"].mib_s
        found = plan_of(
            kv,
            prompt_tokens=tokens,
            block_tokens=block_tokens,
            capacity_bytes=bytes_of(capacity) if capacity else None,
            storage_mib_s=storage_mib_s or None,
            prefill_tokens_s=prefill_tokens_s or None,
        )
    except (ValueError, OSError) as error:
        output.stop(str(error), output.USAGE)
    if output_ is Form.JSON:
        output.show_json(asdict(kv) | asdict(found) | {"storage_mib_s": storage_mib_s, "speedup": found.speedup})
    else:
        output.show_pairs(_in_words(kv, found, storage_mib_s))
        for note in kv.notes:
            print(f"note: {note}")
        print(verdict(found))
    if plot:
        _plot(plot, found, storage_mib_s)


def _config(path: Path) -> dict[str, Any]:
    path = path / "config.json" if path.is_dir() else path
    found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise Misconfigured(f"{path} is not a model's config.json")
    return found


def _in_words(kv: ModelKv, found: Plan, storage_mib_s: float) -> dict[str, object]:
    pairs: dict[str, object] = {
        "model": f"{kv.layers} layers, {kv.kind}, {kv.dtype}",
        "KV of a token": show_bytes(found.token_bytes),
        "block": f"{found.block_tokens} tokens, {show_bytes(found.block_bytes)}",
        "file": show_bytes(found.file_bytes),
        "prefix": f"{found.prompt_tokens} tokens, {found.prompt_blocks} files, {show_bytes(found.prompt_bytes)}",
    }
    if found.capacity_prompts is not None:
        pairs["capacity"] = f"{found.capacity_prompts} such prefixes"
    if found.load_s is not None:
        pairs["load"] = f"{show_seconds(found.load_s)} at {storage_mib_s:.0f} MiB/s"
    if found.prefill_s is not None:
        pairs["prefill"] = f"{show_seconds(found.prefill_s)}"
        pairs["break-even"] = f"storage that reads {found.break_even_mib_s:.0f} MiB/s"
    return pairs


def _plot(path: Path, found: Plan, storage_mib_s: float) -> None:
    if found.prefill_s is None or not found.prompt_blocks:
        output.stop("--plot needs --prefill-tokens-s, and --tokens of at least one block", output.USAGE)
    from llmd_storage_evictor.plot import draw

    draw(path, found, storage_mib_s)
    output.note(f"written: {path}")


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

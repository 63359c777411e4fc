# SPDX-License-Identifier: Apache-2.0
"""llmd-kv plan: does a shared cache pay off?"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from llmd_storage_evictor.cli import output
from llmd_storage_evictor.cli.output import OutputFormat, OutputOption
from llmd_storage_evictor.errors import Misconfigured
from llmd_storage_evictor.sizes import bytes_of, show_bytes, show_seconds
from llmd_storage_evictor.sizing.planning import ModelKv, Plan, model_kv, recommendation
from llmd_storage_evictor.sizing.planning import plan as plan_of
from llmd_storage_evictor.sizing.storage_speed import measure_store

_SAMPLE_BLOCK_BYTES, _SAMPLE_BLOCKS = 8 << 20, 32


def plan(
    model: Annotated[Path, typer.Argument(help="A model's config.json, or the directory it is in.")],
    *,
    tokens: Annotated[int, typer.Option("--tokens", min=1, help="Length of a shared prefix, in tokens.")] = 32768,
    block_tokens: Annotated[int, typer.Option("--block-tokens", min=1, help="Tokens in one block file.")] = 256,
    kv_dtype: Annotated[
        str, typer.Option("--kv-dtype", help="Type of the KV cache: auto, fp8, bfloat16, ...")
    ] = "auto",
    capacity: Annotated[str, typer.Option("--capacity", help="Size of the cache: 2Ti.")] = "",
    storage_mib_s: Annotated[float, typer.Option("--storage-mib-s", min=0, help="Read speed of the storage.")] = 0.0,
    measure: Annotated[
        str, typer.Option("--measure", help="Measure the read speed in this directory instead (writes 256 MiB).")
    ] = "",
    prefill_tokens_s: Annotated[float, typer.Option("--prefill-tokens-s", min=0, help="Prefill speed of a pod.")] = 0.0,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Write a plot of load time against prefill time, by storage speed.")
    ] = None,
    output_: OutputOption = OutputFormat.TABLE,
) -> None:
    """Estimate whether a shared cache pays off for this model on this storage: sizes and times.

    Example: llmd-kv plan Qwen3-32B/config.json --storage-mib-s 2000 --prefill-tokens-s 8000 --capacity 18000Gi
    """
    try:
        kv = model_kv(_load_config(model), kv_dtype)
        if measure:
            storage_mib_s = measure_store(measure, _SAMPLE_BLOCK_BYTES, _SAMPLE_BLOCKS, 8)["read"].mib_s
        found = plan_of(
            kv,
            prompt_tokens=tokens,
            block_tokens=block_tokens,
            capacity_bytes=bytes_of(capacity) if capacity else None,
            storage_mib_s=storage_mib_s or None,
            prefill_tokens_s=prefill_tokens_s or None,
        )
    except (ValueError, OSError) as error:
        output.fail(str(error), output.EXIT_USAGE)
    if output_ is OutputFormat.JSON:
        output.show_json(asdict(kv) | asdict(found) | {"storage_mib_s": storage_mib_s, "speedup": found.speedup})
    else:
        output.show_pairs(_as_pairs(kv, found, storage_mib_s))
        for note in kv.notes:
            print(f"note: {note}")
        print(recommendation(found))
    if plot:
        _plot(plot, found, storage_mib_s)


def _load_config(path: Path) -> dict[str, Any]:
    path = path / "config.json" if path.is_dir() else path
    found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise Misconfigured(f"{path} is not a model's config.json")
    return found


def _as_pairs(kv: ModelKv, found: Plan, storage_mib_s: float) -> dict[str, object]:
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
        output.fail("--plot needs --prefill-tokens-s, and --tokens of at least one block", output.EXIT_USAGE)
    from llmd_storage_evictor.sizing.plot import draw

    draw(path, found, storage_mib_s)
    output.print_stderr(f"written: {path}")

# SPDX-License-Identifier: Apache-2.0
"""Does a shared cache pay off for a model on a storage? Pure: a model's config.json in, figures out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmd_storage_connector.blocks.format import BlockSpec
from llmd_storage_evictor.errors import Misconfigured

_TYPE_BYTES = {
    "float32": 4, "float16": 2, "bfloat16": 2, "half": 2, "float": 4,
    "fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1, "int8": 1,
}  # fmt: skip
_LINEAR = ("linear_attention", "mamba", "recurrent", "conv")


@dataclass(frozen=True, slots=True)
class ModelKv:
    """The KV cache of a model.

    token_bytes: KV bytes a token, over all layers whose cache grows with the prompt and all ranks. notes: assumptions.
    """

    token_bytes: int
    layers: int
    kind: str
    dtype: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """break_even_mib_s: storage speed at which loading takes as long as computing. Other units are in the names."""

    token_bytes: int
    block_tokens: int
    block_bytes: int
    file_bytes: int
    prompt_tokens: int
    prompt_blocks: int
    prompt_bytes: int
    capacity_prompts: int | None
    load_s: float | None
    prefill_s: float | None
    break_even_mib_s: float | None

    @property
    def speedup(self) -> float | None:
        """How many times faster loading is than computing."""
        return self.prefill_s / self.load_s if self.load_s and self.prefill_s else None


def model_kv(config: Mapping[str, Any], kv_dtype: str = "auto") -> ModelKv:
    """The KV cache that a model's config.json describes. Raises: Misconfigured naming what is missing."""
    text = config.get("text_config", config)
    dtype = str(text.get("dtype") or text.get("torch_dtype") or config.get("torch_dtype") or "bfloat16")
    dtype = dtype.removeprefix("torch.") if kv_dtype == "auto" else kv_dtype
    if dtype not in _TYPE_BYTES:
        raise Misconfigured(f"unknown type {dtype!r}; known: {', '.join(_TYPE_BYTES)}")
    layers = _number(text, "num_hidden_layers", "n_layer")
    growing, notes = _growing_layers(text, layers)
    if text.get("kv_lora_rank"):
        width = _number(text, "kv_lora_rank") + int(text.get("qk_rope_head_dim") or 0)
        kind = "latent attention: one vector a layer, the same for all ranks"
    else:
        heads = _number(text, "num_attention_heads", "n_head")
        head_dim = int(text.get("head_dim") or _number(text, "hidden_size", "n_embd") // heads)
        kv_heads = int(text.get("num_key_value_heads") or heads)
        width = 2 * kv_heads * head_dim
        kind = f"{heads} heads over {kv_heads} of keys and values, {head_dim} wide"
    return ModelKv(growing * width * _TYPE_BYTES[dtype], layers, kind, dtype, tuple(notes))


def _growing_layers(text: Mapping[str, Any], layers: int) -> tuple[int, list[str]]:
    types = text.get("layer_types") or []
    fixed = sum(1 for one in types if any(word in str(one) for word in _LINEAR))
    notes = []
    if fixed:
        notes.append(f"{fixed} of {layers} layers keep a state of fixed size instead of keys and values: not counted")
    sliding = sum(1 for one in types if "sliding" in str(one) or "chunked" in str(one))
    if sliding:
        notes.append(
            f"{sliding} of {layers} layers look back over a window ({text.get('sliding_window')} tokens): counted "
            "in full, since their blocks are stored as well, though only the last ones are read"
        )
    return layers - fixed, notes


def _number(config: Mapping[str, Any], *names: str) -> int:
    for name in names:
        if config.get(name) is not None:
            return int(config[name])
    raise Misconfigured(f"the model's config has no {' or '.join(names)}: is it a config.json of Hugging Face?")


def plan(
    model: ModelKv,
    *,
    prompt_tokens: int,
    block_tokens: int,
    capacity_bytes: int | None = None,
    storage_mib_s: float | None = None,
    prefill_tokens_s: float | None = None,
) -> Plan:
    """The figures for prompts of this length. Only whole blocks are stored and loaded."""
    block_bytes = model.token_bytes * block_tokens
    if block_bytes <= 0:
        raise Misconfigured("this model keeps no keys and values that grow with the prompt: nothing can be shared")
    file_bytes = BlockSpec(bytes(32), block_bytes).file_bytes
    blocks = prompt_tokens // block_tokens
    prompt_bytes = blocks * file_bytes
    prefill_s = blocks * block_tokens / prefill_tokens_s if prefill_tokens_s else None
    return Plan(
        token_bytes=model.token_bytes,
        block_tokens=block_tokens,
        block_bytes=block_bytes,
        file_bytes=file_bytes,
        prompt_tokens=prompt_tokens,
        prompt_blocks=blocks,
        prompt_bytes=prompt_bytes,
        capacity_prompts=capacity_bytes // prompt_bytes if capacity_bytes is not None and prompt_bytes else None,
        load_s=prompt_bytes / (storage_mib_s * 2**20) if storage_mib_s else None,
        prefill_s=prefill_s,
        break_even_mib_s=prompt_bytes / prefill_s / 2**20 if prefill_s else None,
    )


def recommendation(found: Plan) -> str:
    """One sentence: does it pay off, and why."""
    if found.prompt_blocks == 0:
        return f"Prompts of {found.prompt_tokens} tokens fill no block of {found.block_tokens}: nothing is shared."
    if found.speedup is None:
        return "Give the storage's speed and the engine's prefill speed to see whether loading is faster."
    if 0.9 < found.speedup < 1.1:
        return "About even: loading takes as long as computing. It still leaves the accelerator to other requests."
    if found.speedup >= 1:
        return f"Worth it: loading is {found.speedup:.1f} times faster than computing."
    return f"Not worth it on this storage: loading takes {1 / found.speedup:.1f} times as long as computing."

# SPDX-License-Identifier: Apache-2.0
"""Tiny random models: no sense in their words, but all of a model's mechanics, and tokens that tell wrong bytes."""

from __future__ import annotations

import json
from pathlib import Path

VOCABULARY, HIDDEN, LAYERS, HEADS, KV_HEADS, HEAD = 2048, 128, 2, 4, 2, 32
# Two vLLM blocks a file, as any real model has several.
BLOCK_TOKENS = 64
# Keys and values of one block file, two bytes each.
ROW_BYTES = BLOCK_TOKENS * LAYERS * 2 * KV_HEADS * HEAD * 2


def write_llama(path: Path, seed: int) -> Path:
    """A random Llama of about a megabyte, of other weights for each seed."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        intermediate_size=256,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        head_dim=HEAD,
        max_position_embeddings=4096,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        tie_word_embeddings=False,
        initializer_range=0.2,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(path)
    return path


def write_lora(path: Path, seed: int, rank: int = 8) -> Path:
    """An adapter for it that changes what every layer keeps in the KV cache."""
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    path.mkdir(parents=True, exist_ok=True)
    widths = {"k_proj": KV_HEADS * HEAD, "v_proj": KV_HEADS * HEAD}
    tensors = {}
    for layer in range(LAYERS):
        for name, width in widths.items():
            at = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            tensors[f"{at}.lora_A.weight"] = torch.randn(rank, HIDDEN).to(torch.bfloat16)
            tensors[f"{at}.lora_B.weight"] = torch.randn(width, rank).to(torch.bfloat16)
    save_file(tensors, path / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "target_modules": sorted(widths), "bias": "none"}
    (path / "adapter_config.json").write_text(json.dumps(settings))
    return path

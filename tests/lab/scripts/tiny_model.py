"""Makes a tiny model with random weights and a byte-level tokenizer, without a network.

Run by the engine environment's own Python: tiny_model.py OUT [--seed N] [--layers N] [--hidden N]
[--architecture llama|qwen3]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

VOCABULARY = 2048
SPECIAL = ["<|pad|>", "<|bos|>", "<|eos|>"]
CHAT = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"
# Any text does for the merges; this one is on every Debian machine, and words make tokens shorter.
CORPUS = sorted(Path("/usr/share/doc").glob("*/copyright"))[:200]
ARCHITECTURES = {"llama": (LlamaConfig, LlamaForCausalLM), "qwen3": (Qwen3Config, Qwen3ForCausalLM)}


def make_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    corpus = [f.read_text(errors="ignore") for f in CORPUS] or ["hello world"]
    tokenizer.train_from_iterator(corpus, trainer)
    pad, bos, eos = SPECIAL
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=bos, eos_token=eos, pad_token=pad)
    fast.chat_template = CHAT
    return fast


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("out", type=Path)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--layers", type=int, default=2)
    p.add_argument("--hidden", type=int, default=256)
    p.add_argument("--architecture", choices=sorted(ARCHITECTURES), default="llama")
    a = p.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    make_tokenizer().save_pretrained(a.out)
    torch.manual_seed(a.seed)
    heads = max(4, a.hidden // 64)
    config_type, model_type = ARCHITECTURES[a.architecture]
    config = config_type(
        vocab_size=VOCABULARY,
        hidden_size=a.hidden,
        intermediate_size=a.hidden * 2,
        num_hidden_layers=a.layers,
        num_attention_heads=heads,
        num_key_value_heads=max(2, heads // 2),
        head_dim=a.hidden // heads,
        max_position_embeddings=32768,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        tie_word_embeddings=False,
        initializer_range=0.2,  # the usual 0.02 makes every next token the same
    )
    model = model_type(config).to(torch.bfloat16)
    model.save_pretrained(a.out)
    print(f"{a.out}: {sum(x.numel() for x in model.parameters()) / 1e6:.2f} M parameters")


if __name__ == "__main__":
    main()

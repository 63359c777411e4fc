"""Write a Llama of random weights: no sense in its words, but a real model's shapes, speed and KV size.

usage: python3 model.py DIRECTORY [--layers 24] [--hidden 2048] [--heads 16] [--kv-heads 8] [--seed 0] [--device cuda]

KV bytes a token = 2 * layers * kv_heads * 128 * 2: 98304 (96 KiB) with the defaults, so 32k tokens are 3 GiB.
No tokenizer: the engine runs with skip_tokenizer_init and prompts of token ids. Needs torch, transformers, no network.
"""

import argparse
import json
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--hidden", type=int, default=2048)
    parser.add_argument("--heads", type=int, default=16)
    parser.add_argument("--kv-heads", type=int, default=8)
    parser.add_argument("--head-dim", type=int, default=128)
    parser.add_argument("--intermediate", type=int, default=None, help="default 4 * hidden")
    parser.add_argument("--vocabulary", type=int, default=32000)
    parser.add_argument("--positions", type=int, default=65536)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default=None, help="where to make the weights; default cuda if there is one")
    args = parser.parse_args()

    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    started = time.monotonic()
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(args.seed)
    config = LlamaConfig(
        vocab_size=args.vocabulary,
        hidden_size=args.hidden,
        intermediate_size=args.intermediate or 4 * args.hidden,
        num_hidden_layers=args.layers,
        num_attention_heads=args.heads,
        num_key_value_heads=args.kv_heads,
        head_dim=args.head_dim,
        max_position_embeddings=args.positions,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        tie_word_embeddings=False,
        # Large enough that other KV bytes give other tokens, small enough that nothing overflows in bf16.
        initializer_range=0.05,
    )
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(device):
        model = LlamaForCausalLM(config)
    model = model.to(torch.bfloat16)
    args.directory.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(args.directory)
    # What transformers itself answers, to compare the engine's first token with: check.py's smoke prompt.
    prompt = torch.tensor([[3 + (i * 7919) % 997 for i in range(200)]], device=device)
    with torch.no_grad():
        top = model.eval()(prompt).logits[0, -1].float().topk(5).indices.tolist()
    report = {
        "reference_top5": top,
        "model": str(args.directory),
        "parameters_m": round(sum(p.numel() for p in model.parameters()) / 1e6, 1),
        "kv_bytes_per_token": 2 * args.layers * args.kv_heads * args.head_dim * 2,
        "device": device,
        "seconds": round(time.monotonic() - started, 1),
    }
    (args.directory / "made.json").write_text(json.dumps(report))
    print(json.dumps(report))


if __name__ == "__main__":
    main()

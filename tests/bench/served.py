"""A real vLLM in a process of its own, for the bench: times to first token, and between tokens."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from tests.bench.child import Child, serve

# Takes a second or more to prefill a prompt on one core, and has much KV for that: 16 KiB a token.
MODEL = {
    "vocab_size": 2048,
    "hidden_size": 512,
    "intermediate_size": 1024,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "head_dim": 64,
}
ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_HOST_IP": "127.0.0.1",
    "HF_HUB_OFFLINE": "1",
    # One core computes, as a GPU would, and one is left for everything else.
    "OMP_NUM_THREADS": "1",
}


class Served(Child):
    """The engine, seen from the bench. transfer None: without a connector."""

    def __init__(self, model: Path, transfer: dict[str, Any] | None, log: Path) -> None:
        arguments = json.dumps({"model": str(model), "transfer": transfer})
        super().__init__("tests.bench.served", arguments, log=log, environment=ENVIRONMENT)

    def first_token_s(self, prompt: list[int]) -> float:
        return float(self.ask("first_token", prompt=prompt)["seconds"])

    def gaps_s(self, prompt: list[int], tokens: int, others: list[list[int]], every: int) -> dict[str, Any]:
        return self.ask("decode", prompt=prompt, tokens=tokens, others=others, every=every)


def write_model(path: Path) -> Path:
    """Random weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    ends = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    config = LlamaConfig(**MODEL, **ends, max_position_embeddings=4096, tie_word_embeddings=False)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(path)
    return path


class Engine:
    """What runs there."""

    def __init__(self, model: str, transfer: dict[str, Any] | None) -> None:
        from vllm import LLM

        self._llm = LLM(
            model=model,
            kv_transfer_config=transfer,
            skip_tokenizer_init=True,
            dtype="bfloat16",
            enforce_eager=True,
            max_model_len=2048,
            block_size=32,
            max_num_seqs=4,
            kv_cache_memory_bytes=96 << 20,
            distributed_executor_backend="uni",
        )
        self._engine = self._llm.llm_engine
        self._number = 0
        self._scheduled = 0
        self._watch()

    def _watch(self) -> None:
        """Note how many tokens each step computes."""
        scheduler = self._engine.engine_core.engine_core.scheduler
        schedule = scheduler.schedule

        def watched(*args: Any, **kwargs: Any) -> Any:
            output = schedule(*args, **kwargs)
            self._scheduled = output.total_num_scheduled_tokens
            return output

        scheduler.schedule = watched

    def _add(self, prompt: list[int], tokens: int) -> str:
        from vllm import SamplingParams

        self._number += 1
        name = f"request-{self._number}"
        parameters = SamplingParams(temperature=0, max_tokens=tokens, ignore_eos=True, detokenize=False)
        self._engine.add_request(name, {"prompt_token_ids": prompt}, parameters)
        return name

    def first_token(self, prompt: list[int]) -> dict[str, Any]:
        began = time.perf_counter()
        self._add(prompt, 1)
        while self._engine.has_unfinished_requests():
            self._engine.step()
        return {"seconds": time.perf_counter() - began}

    def decode(self, prompt: list[int], tokens: int, others: list[list[int]], every: int) -> dict[str, Any]:
        """Seconds between tokens of one running request while others come, one after each `every` of its tokens.

        Only steps that compute this one token count: in the others' prefill it waits with and without a connector.
        """
        name = self._add(prompt, tokens)
        others, gaps, seen = list(others), [], 0
        ends = began = time.perf_counter()
        while self._engine.has_unfinished_requests():
            got = [output for output in self._engine.step() if output.request_id == name]
            now = time.perf_counter()
            if got and self._scheduled == 1:
                gaps.append(now - ends)
            ends = now
            if got:
                seen = len(got[0].outputs[0].token_ids)
                if others and seen % every == 0:
                    self._add(others.pop(0), 1)
        return {"gaps_s": gaps, "seconds": ends - began, "left": len(others)}

    def reset(self) -> dict[str, Any]:
        """Only storage remembers anything afterwards. Returns when all transfers are over."""
        self._llm.reset_prefix_cache(reset_connector=True)
        return {}

    def close(self) -> None:
        self._engine.engine_core.shutdown()


if __name__ == "__main__":
    serve(lambda: Engine(**json.loads(sys.argv[1])))

# SPDX-License-Identifier: Apache-2.0
"""LMCache's engine as a worker of vLLM's has it, in a process of its own, with the accelerator's part done in memory.

Reads commands from stdin, answers on the descriptor that stdout was, a line of JSON each; LMCache's log goes to stderr.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from lmcache.v1.cache_engine import LMCacheEngineBuilder
from lmcache.v1.config import LMCacheEngineConfig
from lmcache.v1.gpu_connector.mock_gpu_connector import MockGPUConnector
from lmcache.v1.metadata import LMCacheMetadata
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

# 1 MiB for a chunk of 256 tokens: two (K and V) of layers x tokens x heads x head size.
LAYERS, HEADS, HEAD = 8, 2, 64


class InMemory(MockGPUConnector):
    """LMCache's connector to no accelerator, with a tensor in its place: kv, two x layers x tokens x (heads x size)."""

    def batched_from_gpu(self, memory_objs: list[Any], starts: list[int], ends: list[int], **given: Any) -> None:
        for memory, start, end in zip(memory_objs, starts, ends, strict=True):
            memory.tensor.copy_(given["kv"][:, :, start:end])

    def batched_to_gpu(self, memory_objs: list[Any], starts: list[int], ends: list[int], **given: Any) -> None:
        for memory, start, end in zip(memory_objs, starts, ends, strict=True):
            given["kv"][:, :, start:end].copy_(memory.tensor)


def tokens_of(prompt: int, count: int) -> list[int]:
    return [(prompt * 7919 + i * 31) % 32000 for i in range(count)]


def kv_of(prompt: int, count: int) -> torch.Tensor:
    source = torch.Generator().manual_seed(prompt)
    return torch.randn(2, LAYERS, count, HEADS * HEAD, generator=source).to(torch.bfloat16)


def digest(kv: torch.Tensor) -> str:
    return hashlib.sha256(kv.contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    config = LMCacheEngineConfig.from_file(os.environ["LMCACHE_CONFIG_FILE"])
    shape = (LAYERS, 2, config.chunk_size, HEADS, HEAD)
    metadata = LMCacheMetadata(
        "some/model", 1, 1, 0, 0, torch.bfloat16, shape, chunk_size=config.chunk_size, role="worker"
    )
    engine = LMCacheEngineBuilder.get_or_create(
        "worker", config, metadata, InMemory(shape), lambda tensor, source: None, lambda value, source: value
    )
    engine.post_init()

    def answer(command: dict[str, Any]) -> dict[str, Any]:
        prompt, count = command.get("prompt", 0), command.get("tokens", 0)
        match command["do"]:
            case "settings":
                return {name: getattr(config, name) for name in command["names"]}
            case "store":
                engine.store(tokens_of(prompt, count), kv=kv_of(prompt, count))
                return {}
            case "retrieve":
                kv = torch.zeros(2, LAYERS, count, HEADS * HEAD, dtype=torch.bfloat16)
                found = engine.lookup(tokens_of(prompt, count))
                taken = int(engine.retrieve(tokens_of(prompt, count)[:found], kv=kv).sum()) if found else 0
                right = digest(kv[:, :, :taken]) == digest(kv_of(prompt, count)[:, :, :taken])
                return {"found": found, "taken": taken, "right": right}
            case "metrics":  # as vLLM's server shows them
                registry = CollectorRegistry()
                MultiProcessCollector(registry)
                return {"metrics": generate_latest(registry).decode()}
            case "become":
                os.setgroups([])
                os.setgid(command["uid"])
                os.setuid(command["uid"])
                return {}
        raise ValueError(command)

    answers.write(json.dumps({"ready": True}) + "\n")
    for line in sys.stdin:
        answers.write(json.dumps(answer(json.loads(line))) + "\n")
    os._exit(0)  # its threads do not end by themselves


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[3])  # not this folder
    main()

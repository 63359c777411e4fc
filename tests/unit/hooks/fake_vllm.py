# SPDX-License-Identifier: Apache-2.0
"""A stand-in for a vLLM server, for unit tests only: the endpoints and counters that the proof reads.

A word is a token. Blocks are kept in a dict that servers share (the "storage") and in the server's own memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

BLOCK = 8
BYTES = 1000


@dataclass
class FakeVllm:
    """`fault` names what is wrong with this server."""

    storage: dict[tuple[str, ...], bool]
    fault: str = ""
    max_model_len: int = 1000
    tokenizer: bool = True
    pending: int = 0  # writes that are only counted when the scheduler steps again
    counts: dict[str, float] = field(default_factory=dict)
    own: set[tuple[str, ...]] = field(default_factory=set)
    requests: list[dict[str, Any]] = field(default_factory=list)
    connector: str = "llmd-storage"  # under whose names it counts
    more: str = ""  # further lines of metrics
    gap: float = 4.0  # between the log probabilities of the best two tokens
    details: bool = False  # --enable-prompt-tokens-details
    chat: bool = False  # has chat alone, whose template is four words
    model: str = "m"  # another name is a 404
    late: int = 0  # how many scrapes LMCache's counters lag behind
    scraped: list[dict[str, float]] = field(default_factory=list)

    def answer(self, method: str, path: str, body: bytes) -> Any:
        if path == "/metrics":
            return 200, self.metrics().encode()
        request = json.loads(body or b"{}")
        if path == "/tokenize":
            if not self.tokenizer:
                return 404, b"no"
            words = len(self.words(request))
            return 200, json.dumps({"count": words, "max_model_len": self.max_model_len}).encode()
        if path == "/v1/models":
            return 200, json.dumps({"data": [{"id": self.model}]}).encode()
        if path == ("/v1/chat/completions" if self.chat else "/v1/completions"):
            if request["model"] != self.model:
                message = f"The model `{request['model']}` does not exist."
                return 404, json.dumps({"error": {"message": message, "type": "NotFoundError"}}).encode()
            self.requests.append(request)
            return self.complete(request)
        return 404, b'{"detail": "Not Found"}'

    def words(self, request: dict[str, Any]) -> list[str]:
        if not self.chat:
            return list(request["prompt"].split())
        (message,) = request["messages"]
        return ["<begin>", message["role"], *message["content"].split(), "<end>", "<answer>"]

    def add(self, name: str, amount: float) -> None:
        self.counts[name] = self.counts.get(name, 0) + amount

    def step(self) -> None:
        self.add("write", self.pending)
        self.pending = 0

    def complete(self, request: dict[str, Any]) -> Any:
        if self.fault == "http 500":
            return 500, b'{"error": "engine is dead"}'
        self.step()
        words = self.words(request)
        keys = [tuple(words[: end + BLOCK]) for end in range(0, len(words) - BLOCK, BLOCK)]
        reused = 0
        if keys:
            reused = self.reuse(keys) * BLOCK
            self.store(keys)
        self.add("prompt", len(words) + (100 if self.fault == "busy" and keys else 0))
        return 200, self.stream(words, request["max_tokens"], reused)

    def reuse(self, keys: list[tuple[str, ...]]) -> int:
        if self.fault in ("no connector", "not asked"):
            return 0
        local = len([key for key in keys if key in self.own]) if self.fault == "local" else 0
        if local:
            self.add("local", local * BLOCK)
            return local
        self.add("queries", len(keys))
        if self.fault == "other namespace":
            return 0
        hits = len([key for key in keys if key in self.storage])
        if self.fault == "half":
            hits //= 2
        if not hits:
            return 0
        self.add("hits", hits)
        if self.fault == "load fails":
            self.add("read_failures", 1)
            return 0
        if self.fault == "cpu tier":
            self.counts["hits"] = 0
        else:
            self.add("read", hits * BYTES)
        self.add("external", hits * BLOCK)
        return hits

    def store(self, keys: list[tuple[str, ...]]) -> None:
        self.own.update(keys)
        if self.fault in ("writes nothing", "no connector"):
            return
        new = [key for key in keys if key not in self.storage]
        self.storage.update(dict.fromkeys(new, True))
        self.pending += len(new) * BYTES

    def stream(self, words: list[str], max_tokens: int, reused: int) -> Iterator[bytes]:
        wrong = self.fault in ("wrong tokens", "near-tie") and reused
        base = sum(map(len, words))
        ids = [(base + place + (1 if wrong and place > 2 else 0)) % 1000 for place in range(max_tokens)]
        shift = 0.5 if self.fault == "logprobs" and reused else 0.0
        second = -1.0 - self.gap - shift
        parts = [
            {
                "choices": [
                    {
                        "text": f" {one}",
                        "token_ids": [one],
                        "logprobs": {
                            "token_logprobs": [-1.0 - shift],
                            "top_logprobs": [{f" {one}": -1.0 - shift, " other": second}],
                        },
                    }
                ]
            }
            for one in ids
        ]
        if self.chat:
            parts = [{"choices": [{"delta": {"role": "assistant", "content": ""}}]}, *map(_as_chat, parts)]
        if self.fault == "stream error" and reused:
            parts = [{"error": {"message": "out of memory"}}]
        usage = {"prompt_tokens": len(words)}
        if self.details:
            usage["prompt_tokens_details"] = {"cached_tokens": reused}
        parts.append({"choices": [], "usage": usage})
        lines = [f"data: {json.dumps(part)}\n\n".encode() for part in parts] + [b": note\n\n", b"data: [DONE]\n\n"]
        return iter(lines)

    def metrics(self) -> str:
        names = {
            'vllm:prompt_tokens_total{model_name="m"}': "prompt",
            'vllm:prompt_tokens_by_source_total{model_name="m",source="external_kv_transfer"}': "external",
            'vllm:prompt_tokens_by_source_total{model_name="m",source="local_cache_hit"}': "local",
            'vllm:external_prefix_cache_hits_total{model_name="m"}': "external",
        }
        tiering = {
            "chunk_queries_total": "queries",
            "chunk_hits_total": "hits",
            "read_bytes_total": "read",
            "write_bytes_total": "write",
            "promotion_job_failures_total": "read_failures",
            "cascade_job_failures_total": "write_failures",
        }
        lines = [f"{name} {self.counts.get(key, 0)}" for name, key in names.items()]
        lines.append(self.more)
        if self.connector == "llmd-fs-backend":
            lines += [
                f'vllm:kv_offload_total_bytes_total{{transfer_type="{way}"}} {self.counts.get(key, 0)}'
                for way, key in (("GPU_to_SHARED_STORAGE", "write"), ("SHARED_STORAGE_to_GPU", "read"))
            ]
        elif self.connector == "lmcache" and self.fault != "no connector":
            self.scraped.append(dict(self.counts))
            then = self.scraped[max(0, len(self.scraped) - 1 - self.late)]
            lines += [
                f'lmcache:num_remote_{way}_bytes_total{{role="worker"}} {then.get(way, 0)}' for way in ("write", "read")
            ]
        elif self.fault != "no connector":
            tier = {"llmd-storage": "1:llmd_storage", "vllm-fs": "1:fs"}[self.connector]
            lines.append("# TYPE vllm:kv_offload_tiering_chunk_queries_total counter")
            lines += [
                f'vllm:kv_offload_tiering_{name}{{model_name="m",tier="{tier}"}} {self.counts[key]}'
                for name, key in tiering.items()
                if key in self.counts
            ]
        return "\n".join(lines) + "\n"


def _as_chat(part: dict[str, Any]) -> dict[str, Any]:
    (choice,) = part["choices"]
    given = choice["logprobs"]
    tops = [{"token": token, "logprob": value} for token, value in given["top_logprobs"][0].items()]
    content = [{"token": choice["text"], "logprob": given["token_logprobs"][0], "top_logprobs": tops}]
    ids = choice["token_ids"]
    return {"choices": [{"delta": {"content": choice["text"]}, "token_ids": ids, "logprobs": {"content": content}}]}

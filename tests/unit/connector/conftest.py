# SPDX-License-Identifier: Apache-2.0
"""A small namespace on local disk, and memory to stand for vLLM's rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llmd_storage_connector.config import Config, parse
from llmd_storage_connector.format import BlockSpec
from llmd_storage_connector.identity import Identity
from llmd_storage_connector.store import BlockBuffer, BlockStore

PAYLOAD_BYTES = 8192


def key(number: int) -> bytes:
    """A key as vLLM makes them: 32 bytes of hash, 4 of group."""
    return bytes([number % 256]) * 32 + (0).to_bytes(4, "big")


def make_facts(**changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "runner": "vllm 0.32",
        "weights": {"model": {"kind": "sampled", "files": 1, "sha256": "ab" * 32}},
        "model_config": {"hf": {"rope_theta": 10000.0}, "text": {"rope_theta": 10000.0}},
        "dtype": "bfloat16",
        "quantization": None,
        "kv_cache": {"dtype": "bfloat16", "layout": "LBHNC", "canonical": False, "calculatedScales": False},
        "attention": {"platform": "cuda", "capability": "9.0", "backend": None, "runner": 2},
        "block": {
            "tokensPerHash": 32,
            "vllmBlocks": 1,
            "workerBytes": PAYLOAD_BYTES,
            "groups": [{"tokens": 32, "layers": ["model.layers.0.self_attn.attn"]}],
        },
        "parallel": {"tp": 1, "pp": 1, "pcp": 1, "dcp": 1, "replicated": False},
        "block_hash": {"algorithm": "sha256", "seedSha256": None},
    }
    return Identity(**(fields | changes)).facts()


def make_spec(facts: dict[str, Any], **changes: Any) -> BlockSpec:
    from llmd_storage_connector.identity import digest_of

    return BlockSpec(**({"identity": digest_of(facts), "payload_bytes": PAYLOAD_BYTES} | changes))


def make_config(**changes: Any) -> Config:
    return parse({"root_dir": "/unused", "cpu_bytes_to_use": 64 * PAYLOAD_BYTES} | changes)


@pytest.fixture
def store(tmp_path: Path) -> BlockStore:
    facts = make_facts()
    opened = BlockStore(tmp_path / "root", facts, make_spec(facts), "link")
    opened.open()
    return opened


def fill(buffer: BlockBuffer, byte: int) -> bytes:
    """Give the payload a content; returns it."""
    buffer.payload[:] = bytes([byte]) * len(buffer.payload)
    return bytes(buffer.payload)

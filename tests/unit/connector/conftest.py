# SPDX-License-Identifier: Apache-2.0
"""A small namespace on local disk, and memory to stand for vLLM's rows."""

from __future__ import annotations

import ctypes
import mmap
from pathlib import Path
from typing import Any

import pytest

from llmd_storage_connector.blocks.buffer import BlockBuffer
from llmd_storage_connector.blocks.data_path import DataPath, Row
from llmd_storage_connector.blocks.format import FORMAT_VERSION, BlockSpec
from llmd_storage_connector.blocks.native import best_path
from llmd_storage_connector.blocks.python_path import PythonPath
from llmd_storage_connector.blocks.result import BlockResult
from llmd_storage_connector.blocks.store import BlockStore
from llmd_storage_connector.config import Config, parse
from llmd_storage_connector.identity.facts import Identity

PAYLOAD_BYTES = 8192
Memory = bytearray | memoryview | mmap.mmap
STRIPE_BYTES = 4096


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


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
        "kv_cache": {"dtype": "bfloat16", "layout": "LBHNC", "canonical": False},
        "attention": {"platform": "cuda", "capability": "9.0", "backend": None, "runner": 2},
        "block": {
            "tokensPerHash": 32,
            "vllmBlocks": 1,
            "workerBytes": PAYLOAD_BYTES,
            "groups": [{"tokens": 32, "layers": ["model.layers.0.self_attn.attn"]}],
        },
        "parallel": {"tp": 1, "pp": 1, "pcp": 1, "dcp": 1, "replicated": False, "interleave": None},
        "block_hash": {"algorithm": "sha256", "seedSha256": None},
        "settings": {},
        "format_version": FORMAT_VERSION,
    }
    return Identity(**(fields | changes)).facts()


def make_spec(facts: dict[str, Any], **changes: Any) -> BlockSpec:
    from llmd_storage_connector.identity.facts import digest_of

    # Two stripes a block: that they are put together rightly is part of every test.
    shape = {"identity": digest_of(facts), "payload_bytes": PAYLOAD_BYTES, "stripe_bytes": STRIPE_BYTES}
    return BlockSpec(**(shape | changes))


def make_config(**changes: Any) -> Config:
    return parse({"root_dir": "/unused", "cpu_bytes_to_use": 64 * PAYLOAD_BYTES} | changes)


PATHS = {"python": PythonPath, "native": best_path}


@pytest.fixture(params=PATHS)
def data_path(request: pytest.FixtureRequest) -> DataPath:
    """The reference, and what is used: each test of bytes that move runs with both."""
    return PATHS[request.param]()


@pytest.fixture
def store(tmp_path: Path, data_path: DataPath) -> BlockStore:
    return open_store(tmp_path / "root", data_path)


def open_store(
    root: Path, data_path: DataPath, strategy: str = "link", *, direct_io: str = "auto", **changes: Any
) -> BlockStore:
    """A namespace of make_facts() below root; changes: of its spec."""
    facts = make_facts()
    opened = BlockStore(root, facts, make_spec(facts, **changes), strategy, direct_io=direct_io, path=data_path)
    opened.open()
    return opened


def row_of(memory: Memory, store: BlockStore) -> Row:
    """The memory as a row, with an open gate. Requires: the memory lives, and keeps its size, as long as the row."""
    return Row(address_of(memory), store.data_path.new_gate())


def address_of(memory: Memory) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def content(byte: int) -> bytes:
    """A payload whose stripes differ."""
    return bytes((byte + at // STRIPE_BYTES) % 256 for at in range(PAYLOAD_BYTES))


def put(store: BlockStore, key: bytes, payload: bytes) -> BlockResult:
    """Store a block as a thread of the engine does."""
    memory = bytearray(payload)
    return store.put(key, BlockBuffer(store.spec), row_of(memory, store))


def get(store: BlockStore, key: bytes, *, again: bool = False) -> tuple[BlockResult, bytes]:
    """Read a block alone, or as it is read after damage was seen."""
    memory = bytearray(store.spec.payload_bytes)
    read = store.reread if again else store.load
    outcome = read(key, BlockBuffer(store.spec), row_of(memory, store))
    return outcome, bytes(memory)

# SPDX-License-Identifier: Apache-2.0
"""What a user would lose: the secrecy of a salted cache, or the answers of an adapter, if their blocks were shared.

Salts are part of vLLM's block hash, which is our key: these tests hold vLLM to it. Of adapters only name and path are.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine.models import BLOCK_TOKENS, write_lora
from tests.engine.process import Engine, block_files, prompt, wait_for_blocks

pytestmark = pytest.mark.engine

BLOCKS = 4
DEFAULTS = {"skip_slow_loads": False}
LORA = {"enable_lora": True, "max_lora_rank": 8}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:  # a socket's path may have 107 characters
        yield f"ipc://{folder}/socket"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="module")
def engine(model: Path, root: Path, endpoint: str, start_engine: Callable[..., Engine]) -> Engine:
    """One that takes an adapter and publishes events."""
    events = {"enable_kv_cache_events": True, "publisher": "zmq", "endpoint": endpoint}
    return start_engine(model, root, extra=DEFAULTS, llm=LORA | {"kv_events_config": events}).wait_ready()


@pytest.fixture(scope="module")
def trusting(model: Path, engine: Engine, root: Path, start_engine: Callable[..., Engine]) -> Engine:
    """One whose operator says that an adapter's name and path stand for its weights."""
    return start_engine(model, root, extra=DEFAULTS | {"adapters_by_name": True}, llm=LORA).wait_ready()


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_lora(tmp_path_factory.mktemp("adapter"), seed=5))


def loaded(engine: Engine, tokens: list[int], **fields: Any) -> int:
    """Ask with empty caches. Returns: how many blocks came from storage."""
    engine.forget()
    before = engine.metrics().ours("loaded_blocks")
    engine.generate(tokens, **fields)
    return round(engine.metrics().ours("loaded_blocks") - before)


def store(engine: Engine, root: Path, tokens: list[int], **fields: Any) -> list[int]:
    """Ask for the first time. Returns: the answer, when its blocks are in storage."""
    before = len(block_files(root))
    answer = engine.generate(tokens, **fields)
    wait_for_blocks(root, before + BLOCKS)
    return answer


def test_one_salt_never_reads_anothers_blocks(engine: Engine, root: Path) -> None:
    tokens = prompt(1, BLOCKS)
    store(engine, root, tokens, cache_salt="one tenant")
    assert loaded(engine, tokens, cache_salt="another tenant") == 0
    assert loaded(engine, tokens) == 0
    assert loaded(engine, tokens, cache_salt="one tenant") == BLOCKS


def test_an_adapter_never_reads_the_base_models_blocks(trusting: Engine, root: Path, adapter: str) -> None:
    tokens = prompt(2, BLOCKS)
    base = store(trusting, root, tokens)
    trusting.forget()
    adapted = store(trusting, root, tokens, lora=adapter)
    assert adapted != base, "the adapter changes nothing: this test could not fail"
    assert loaded(trusting, tokens, lora=adapter) == BLOCKS
    assert trusting.generate(tokens, lora=adapter) == adapted
    assert loaded(trusting, tokens) == BLOCKS
    assert trusting.generate(tokens) == base


def test_an_adapter_that_was_trained_again_never_answers_from_its_old_blocks(
    engine: Engine, root: Path, tmp_path: Path
) -> None:
    """It has the same name and path, and so vLLM gives its blocks the same names: they are not kept."""
    tokens, path = prompt(4, BLOCKS), tmp_path / "adapter"
    base = store(engine, root, tokens)
    stored = block_files(root)
    engine.forget()
    old = engine.generate(tokens, lora=str(write_lora(path, seed=6)), lora_id=2)
    right = engine.generate(tokens, lora=str(write_lora(tmp_path / "copy", seed=7)), lora_id=3)
    write_lora(path, seed=7)
    assert loaded(engine, tokens, lora=str(path), lora_id=4) == 0
    engine.forget()
    assert engine.generate(tokens, lora=str(path), lora_id=4) == right != old != base
    assert block_files(root) == stored
    assert loaded(engine, tokens) == BLOCKS, "requests without an adapter use the cache as before"
    assert engine.metrics().ours("bypassed_requests", reason="adapter") >= 4


def test_the_same_words_around_another_image_are_another_block() -> None:
    from vllm.multimodal.inputs import MultiModalFeatureSpec, PlaceholderRange
    from vllm.sampling_params import SamplingParams
    from vllm.utils.hashing import sha256
    from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
    from vllm.v1.request import Request

    init_none_hash(sha256)

    def keys(image: str) -> list[bytes]:
        feature = MultiModalFeatureSpec(
            data=None, modality="image", identifier=image, mm_position=PlaceholderRange(offset=BLOCK_TOKENS, length=16)
        )
        return Request(
            request_id="one",
            prompt_token_ids=prompt(3, BLOCKS),
            sampling_params=SamplingParams(max_tokens=1),
            pooling_params=None,
            mm_features=[feature],
            block_hasher=get_request_block_hasher(BLOCK_TOKENS, sha256),
        ).block_hashes

    one, other = keys("an image"), keys("another image")
    assert one[0] == other[0], "before the image the text decides"
    assert all(a != b for a, b in zip(one[1:], other[1:], strict=True))
    assert keys("an image") == one


def test_a_router_hears_of_stored_blocks(engine: Engine, root: Path, endpoint: str) -> None:
    """A router that scores pods by what they can read needs to know what is in storage."""
    import msgspec
    import zmq
    from vllm.distributed.kv_events import BlockStored, KVEventBatch

    subscriber = zmq.Context.instance().socket(zmq.SUB)
    subscriber.connect(endpoint)
    subscriber.setsockopt(zmq.SUBSCRIBE, b"")
    decoder = msgspec.msgpack.Decoder(KVEventBatch)
    heard: list[BlockStored] = []
    try:
        for seed in range(100, 110):  # a subscriber that comes late misses what was before it
            store(engine, root, prompt(seed, BLOCKS))
            engine.metrics()  # steps, and so publishes
            while subscriber.poll(500):
                batch = decoder.decode(subscriber.recv_multipart()[-1])
                heard += [e for e in batch.events if isinstance(e, BlockStored) and _is_storage(e.medium)]
            if heard:
                break
    finally:
        subscriber.close(0)
    assert sum(len(event.block_hashes) for event in heard) >= BLOCKS


def _is_storage(medium: str | None) -> bool:
    return str(medium).lower() == "storage"

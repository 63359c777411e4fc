# SPDX-License-Identifier: Apache-2.0
"""What a user would lose: blocks that are not shared although they could be, or are although they must not."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.engine.models import BLOCK_TOKENS
from tests.engine.process import Engine, prompt, wait_for_blocks

pytestmark = pytest.mark.engine

PROMPT = prompt(7)
WHOLE_BLOCKS = len(PROMPT) // BLOCK_TOKENS
VLLM_HITS = "vllm:external_prefix_cache_hits"
WEIGHTS = "model.safetensors"


@dataclass
class Filled:
    """A directory that an engine filled before it was killed -9, and what that engine said."""

    root: Path
    tokens: list[int]
    identities: list[str]
    regions: list[str]


@pytest.fixture(scope="module")
def model(make_model: Callable[[int], Path]) -> Path:
    """A directory of this module's own: its weights are going to change."""
    return make_model(0)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, model: Path, start_engine: Callable[..., Engine]) -> Filled:
    root = tmp_path_factory.mktemp("claim")
    first = start_engine(model, root).wait_ready()
    tokens = first.generate(PROMPT)
    regions = first.ask("shared_memory")["mapped"]
    identities = first.ask("identities")["identities"]
    wait_for_blocks(root, WHOLE_BLOCKS)
    first.kill()
    return Filled(root, tokens, identities, regions)


def hub_snapshot(model: Path, cache: Path) -> Path:
    """The model as the hub's cache keeps it: links to blobs, in a folder of a commit."""
    repository = cache / "models--tiny--llama"
    snapshot = repository / "snapshots" / ("0123456789" * 4)
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    for file in model.iterdir():
        blob = shutil.copyfile(file, repository / "blobs" / f"of-{file.name}")
        (snapshot / file.name).symlink_to(os.path.relpath(blob, snapshot))
    return snapshot


@dataclass
class Others:
    """Engines that start when the first is gone. Two start at a time: this is most of the tests' time."""

    elsewhere: Engine
    elsewhere_root: Path
    unusable: Engine
    other_weights: Engine
    other_rope: Engine


@pytest.fixture(scope="module")
def others(
    filled: Filled,
    model: Path,
    make_model: Callable[[int], Path],
    start_engine: Callable[..., Engine],
    tmp_path_factory: pytest.TempPathFactory,
) -> Others:
    scratch = tmp_path_factory.mktemp("others")
    root = shutil.copytree(filled.root, scratch / "claim")
    copied_model = hub_snapshot(model, scratch / "hub")
    (scratch / "file").write_text("")
    # As a server has it: metrics are declared in a process that never makes a connector.
    elsewhere = start_engine(copied_model, root, core_in_process=False)
    unusable = start_engine(copied_model, scratch / "file" / "blocks")
    elsewhere.wait_ready()
    unusable.wait_ready()
    # From here on the first engine's path holds other weights, of equal sizes.
    shutil.copyfile(make_model(1) / WEIGHTS, model / WEIGHTS)
    other_weights = start_engine(model, root)
    rope = {"rope_parameters": {"rope_theta": 500000.0, "rope_type": "default"}}
    other_rope = start_engine(copied_model, root, llm={"hf_overrides": rope})
    other_weights.wait_ready()
    other_rope.wait_ready()
    return Others(elsewhere, root, unusable, other_weights, other_rope)


def test_kill_9_leaves_no_shared_memory(filled: Filled) -> None:
    assert filled.regions, "the test looks at the wrong place"
    for region in filled.regions:
        assert region.endswith("(deleted)"), region
        assert not Path(region.removesuffix(" (deleted)")).exists()


def test_both_roles_compute_one_identity(filled: Filled) -> None:
    assert len(set(filled.identities)) == 1
    (manifest,) = filled.root.glob("*/manifest.json")
    assert json.loads(manifest.read_text())["identity"] == filled.identities[0]


def test_a_fresh_engine_answers_from_storage(filled: Filled, others: Others) -> None:
    """Also that the path of the model does not count: this one serves a hub snapshot of what was a plain folder."""
    engine = others.elsewhere
    assert engine.generate(PROMPT) == filled.tokens
    seen = engine.metrics()
    assert seen[VLLM_HITS] == WHOLE_BLOCKS * BLOCK_TOKENS
    assert seen.ours("loaded_blocks") == WHOLE_BLOCKS
    assert seen.ours("usable") == 1
    (manifest,) = (others.elsewhere_root / filled.identities[0][:32]).glob("manifest.json")
    assert json.loads(manifest.read_text())["model"] == "tiny/llama", "the evictor's rules go by it"


def test_a_flipped_bit_is_recomputed_counted_and_healed(filled: Filled, others: Others) -> None:
    engine, root = others.elsewhere, others.elsewhere_root
    (namespace,) = root.glob(f"{filled.identities[0][:32]}*")
    victim = sorted(namespace.glob("??/*.kvb"))[5]
    whole = victim.read_bytes()
    damaged = bytearray(whole)
    damaged[-1000] ^= 0x10
    victim.write_bytes(damaged)
    engine.forget()
    assert engine.generate(PROMPT) == filled.tokens
    assert engine.metrics().ours("corrupt_blocks", rule="payload_checksum") == 1
    assert (namespace / "damaged" / victim.name).read_bytes() == damaged
    engine.forget()  # returns when all stores are over
    assert len(victim.read_bytes()) == len(whole)


def test_other_weights_at_the_same_path_do_not_share(filled: Filled, others: Others) -> None:
    assert others.other_weights.generate(PROMPT) != filled.tokens
    assert others.other_weights.metrics().ours("loaded_blocks") == 0


def test_a_rope_override_does_not_share(others: Others) -> None:
    others.other_rope.generate(PROMPT)
    assert others.other_rope.metrics().ours("loaded_blocks") == 0


def test_an_unusable_root_dir_costs_the_cache_and_not_the_engine(filled: Filled, others: Others) -> None:
    assert others.unusable.generate(PROMPT) == filled.tokens
    assert others.unusable.metrics().ours("usable") == 0
    assert "KV cache storage is NOT used" in others.unusable.log.read_text()


def test_a_shutdown_gives_the_memory_back(others: Others) -> None:
    """vLLM cannot unmap its CPU tier, and only logs it, while anyone still holds a piece of it."""
    others.other_rope.ask("shutdown")
    log = others.other_rope.log.read_text()
    assert "Failed to close mmap_obj" not in log
    assert "Failed to unlink" not in log
    assert others.other_rope.ask("shared_memory")["mapped"] == []

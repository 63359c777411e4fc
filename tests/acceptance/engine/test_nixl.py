# SPDX-License-Identifier: Apache-2.0
"""The connector within vLLM's MultiConnector, beside a real NIXL: what hands prefilled prompts from pod to pod.

NIXL is registered with the KV cache in its own way, and asks vLLM for another layout of it than it would choose. If the
connector did not notice, blocks of two layouts would have one name, and whoever loads the other's answers nonsense.

NIXL checks nothing of what it brings. If its blocks were stored, a mistake of one answer would be one of every pod.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.engine.models import BLOCK_TOKENS
from tests.engine.process import Engine, Metrics, block_files, prompt, transfer_config, wait_for_blocks
from tests.engine.test_beside import PROMPT, computed_then_loaded

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1800)]

# Its bindings, and the library for the CUDA that the engine's torch is built for; neither needs a GPU.
WHEELS = ("nixl==1.5.1", "nixl-cu13==1.5.1")
UV = Path(__file__).parents[3] / ".venv" / "bin" / "uv"  # the engine's environment has none
STEADY = {"skip_slow_loads": False}
BLOCKS = 10  # of a prompt
# What a router asks of whoever prefills; what that one answers goes to whoever decodes.
TO_PREFILL = {
    "do_remote_decode": True,
    "do_remote_prefill": False,
    "remote_engine_id": None,
    "remote_block_ids": None,
    "remote_host": None,
    "remote_port": None,
}


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of an engine that has NIXL, whose transports are kept to this machine."""
    site = str(tmp_path_factory.mktemp("nixl"))
    argv = [str(UV), "pip", "install", "--quiet", "--python", sys.executable, "--target", site, "--no-deps", *WHEELS]
    subprocess.run(argv, check=True)
    ours = map(os.path.abspath, os.environ["PYTHONPATH"].split(os.pathsep))
    return {"PYTHONPATH": os.pathsep.join([*ours, site]), "UCX_TLS": "sm,tcp,self", "UCX_NET_DEVICES": "lo"}


@pytest.fixture(scope="session")
def start_beside(
    model: Path, start_engine: Callable[..., Engine], environment: dict[str, str]
) -> Callable[..., Engine]:
    """start_beside(claim, first="nixl") -> a starting engine with this connector and NIXL. first: or "ours"."""

    def start(claim: Path, first: str = "nixl") -> Engine:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = str(free.getsockname()[1])
        nixl = {"kv_connector": "NixlConnector", "kv_role": "kv_both", "kv_buffer_device": "cpu"}
        connectors = [nixl, transfer_config(claim, STEADY)]
        both: dict[str, Any] = {
            "kv_connector": "MultiConnector",
            "kv_role": "kv_both",
            "kv_load_failure_policy": "recompute",
            "kv_connector_extra_config": {"connectors": connectors if first == "nixl" else connectors[::-1]},
        }
        own = environment | {"VLLM_NIXL_SIDE_CHANNEL_HOST": "127.0.0.1", "VLLM_NIXL_SIDE_CHANNEL_PORT": port}
        return start_engine(model, claim, transfer=both, environment=own)

    return start


def ready(engine: Engine) -> Engine:
    assert "Initialized NIXL agent" in engine.wait_ready().log.read_text(), "the real one"
    return engine


def test_it_stores_and_loads_beside_nixl(
    start_beside: Callable[..., Engine], without_cache: Callable[[list[int]], list[int]], tmp_path: Path
) -> None:
    assert computed_then_loaded(ready(start_beside(tmp_path)), without_cache(PROMPT)) > 0


def test_engines_with_nixl_and_without_never_mistake_each_others_blocks(
    model: Path,
    start_engine: Callable[..., Engine],
    start_beside: Callable[..., Engine],
    without_cache: Callable[[list[int]], list[int]],
    tmp_path: Path,
    figures: Callable[..., None],
) -> None:
    """They share where the layout is the same, and have names of their own where it is not."""
    alone, right = start_engine(model, tmp_path, extra=STEADY).wait_ready(), without_cache(PROMPT)
    assert alone.generate(PROMPT) == right
    wait_for_blocks(tmp_path, 1)
    alone.forget()  # all of them are stored
    beside = ready(start_beside(tmp_path))
    assert beside.generate(PROMPT) == right
    loaded = beside.metrics().ours("loaded_blocks")
    names = [path.name for path in tmp_path.iterdir() if len(path.name) == 32]
    figures(loaded_by_the_other=loaded, namespaces=len(names))
    assert (loaded > 0) == (len(names) == 1)


# ---- prompts that are handed over --------------------------------------------------------------------


@dataclass
class Disaggregated:
    """One engine prefills, one decodes, over one claim. start: another one beside NIXL."""

    prefill: Engine
    decode: Engine
    claim: Path
    right: Callable[[list[int]], list[int]]
    start: Callable[..., Engine]

    def prefilled(self, tokens: list[int], engine: Engine | None = None) -> dict[str, Any]:
        """Where the prompt's blocks are, for who decodes. They are stored too."""
        before = len(block_files(self.claim))
        engine = engine or self.prefill
        where = engine.ask("generate", prompt=tokens, max_tokens=1, transfer=TO_PREFILL)["transfer"]
        engine.wait_until(lambda _: len(block_files(self.claim)) >= before + BLOCKS, "the prompt to be stored")
        return where

    def decoded(self, tokens: list[int], where: dict[str, Any]) -> list[int]:
        return self.decode.generate(tokens, transfer=where)


def handed_over(metrics: Metrics) -> float:
    return metrics["vllm:prompt_tokens_cached_by_source{source=p2p}"]


@pytest.fixture(scope="module")
def pods(
    start_beside: Callable[..., Engine],
    without_cache: Callable[[list[int]], list[int]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Disaggregated:
    """Whichever of its connectors an engine is told first."""
    claim = tmp_path_factory.mktemp("claim")
    prefill, decode = start_beside(claim), start_beside(claim, first="ours")
    return Disaggregated(ready(prefill), ready(decode), claim, without_cache, start_beside)


@pytest.fixture(scope="module")
def alone(model: Path, start_engine: Callable[..., Engine], pods: Disaggregated) -> Engine:
    """An engine without NIXL over their claim."""
    return start_engine(model, pods.claim, extra=STEADY).wait_ready()


def test_a_prompt_is_handed_over_while_it_is_stored(pods: Disaggregated, alone: Engine) -> None:
    tokens = prompt(101)
    before = pods.decode.metrics()
    assert pods.decoded(tokens, pods.prefilled(tokens)) == pods.right(tokens)
    seen = pods.decode.metrics()
    assert handed_over(seen) - handed_over(before) == len(tokens), "it came from who prefilled"
    assert seen.ours("lookup_hits") == before.ours("lookup_hits"), "and was not looked for in storage"
    assert alone.generate(tokens) == pods.right(tokens)
    assert alone.metrics().ours("loaded_blocks") == BLOCKS


def test_a_prompt_that_storage_has_is_loaded_once_and_handed_over(pods: Disaggregated) -> None:
    tokens = prompt(102)
    assert pods.decoded(tokens, pods.prefilled(tokens)) == pods.right(tokens)
    pods.prefill.forget()
    pods.decode.forget()
    before, there = pods.prefill.metrics(), pods.decode.metrics()
    where = pods.prefill.ask("generate", prompt=tokens, max_tokens=1, transfer=TO_PREFILL)["transfer"]
    assert pods.prefill.metrics().ours("loaded_blocks") - before.ours("loaded_blocks") == BLOCKS
    assert pods.decoded(tokens, where) == pods.right(tokens)
    seen = pods.decode.metrics()
    assert handed_over(seen) - handed_over(there) == len(tokens)
    assert seen.ours("loaded_blocks") == there.ours("loaded_blocks")


def test_what_nobody_checked_is_not_stored(pods: Disaggregated, alone: Engine) -> None:
    """Blocks of another prompt are handed over, as when they were given away before they were fetched."""
    other, tokens = prompt(103), prompt(104)
    before = pods.decode.metrics().ours("store_drops", reason="received")
    wrong = pods.decoded(tokens, pods.prefilled(other))
    assert wrong != pods.right(tokens), "NIXL brings what it is told to"
    longer = tokens + prompt(105, 2)
    pods.decode.generate(longer)  # not handed over, and computed after what was
    dropped = before + len(longer) // BLOCK_TOKENS
    pods.decode.wait_until(lambda seen: seen.ours("store_drops", reason="received") == dropped, "nothing to be stored")
    for asked in (tokens, longer):
        assert alone.generate(asked) == pods.right(asked)


def test_a_prompt_whose_pod_died_comes_from_storage(pods: Disaggregated) -> None:
    tokens = prompt(106)
    dies = ready(pods.start(pods.claim))
    where = pods.prefilled(tokens, dies)
    dies.kill()
    before = pods.decode.metrics()
    assert pods.decoded(tokens, where) == pods.right(tokens)
    assert pods.decode.metrics().ours("loaded_blocks") - before.ours("loaded_blocks") == BLOCKS

# SPDX-License-Identifier: Apache-2.0
"""The connector within vLLM's MultiConnector, beside a real NIXL: what hands prefilled prompts from pod to pod.

NIXL is registered with the KV cache in its own way, and asks vLLM for another layout of it than it would choose. If the
connector did not notice, blocks of two layouts would have one name, and whoever loads the other's answers nonsense.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.engine.process import Engine, transfer_config, wait_for_blocks
from tests.engine.test_beside import PROMPT, computed_then_loaded

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1800)]

# Its bindings, and the library for the CUDA that the engine's torch is built for; neither needs a GPU.
WHEELS = ("nixl==1.5.1", "nixl-cu13==1.5.1")
UV = Path(__file__).parents[3] / ".venv" / "bin" / "uv"  # the engine's environment has none
STEADY = {"skip_slow_loads": False}


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
) -> Callable[[Path], Engine]:
    """start_beside(claim) -> a running engine with this connector and NIXL."""

    def start(claim: Path) -> Engine:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = str(free.getsockname()[1])
        nixl = {"kv_connector": "NixlConnector", "kv_role": "kv_both", "kv_buffer_device": "cpu"}
        both: dict[str, Any] = {
            "kv_connector": "MultiConnector",
            "kv_role": "kv_both",
            "kv_connector_extra_config": {"connectors": [transfer_config(claim, STEADY), nixl]},
        }
        own = environment | {"VLLM_NIXL_SIDE_CHANNEL_PORT": port}
        engine = start_engine(model, claim, transfer=both, environment=own).wait_ready()
        assert "Initialized NIXL agent" in engine.log.read_text(), "the real one"
        return engine

    return start


def test_it_stores_and_loads_beside_nixl(
    start_beside: Callable[[Path], Engine], without_cache: Callable[[list[int]], list[int]], tmp_path: Path
) -> None:
    assert computed_then_loaded(start_beside(tmp_path), without_cache(PROMPT)) > 0


def test_engines_with_nixl_and_without_never_mistake_each_others_blocks(
    model: Path,
    start_engine: Callable[..., Engine],
    start_beside: Callable[[Path], Engine],
    without_cache: Callable[[list[int]], list[int]],
    tmp_path: Path,
    figures: Callable[..., None],
) -> None:
    """They share where the layout is the same, and have names of their own where it is not."""
    alone, right = start_engine(model, tmp_path, extra=STEADY).wait_ready(), without_cache(PROMPT)
    assert alone.generate(PROMPT) == right
    wait_for_blocks(tmp_path, 1)
    alone.forget()  # all of them are stored
    beside = start_beside(tmp_path)
    assert beside.generate(PROMPT) == right
    loaded = beside.metrics().ours("loaded_blocks")
    names = [path.name for path in tmp_path.iterdir() if len(path.name) == 32]
    figures(loaded_by_the_other=loaded, namespaces=len(names))
    assert (loaded > 0) == (len(names) == 1)

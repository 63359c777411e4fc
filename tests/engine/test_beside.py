# SPDX-License-Identifier: Apache-2.0
"""What a user would lose: the other parts of vLLM's offloading that they had set up before this connector came."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.engine.process import Engine, prompt, transfer_config

pytestmark = pytest.mark.engine

PROMPT = prompt(41)


def computed_then_loaded(engine: Engine, right: list[int]) -> float:
    """Blocks that this connector loaded when the prompt came a second time."""
    assert engine.generate(PROMPT) == right
    engine.forget()
    before = engine.metrics().ours("loaded_blocks")
    assert engine.generate(PROMPT) == right
    return engine.metrics().ours("loaded_blocks") - before


def test_another_tier_backpressure_and_events_that_describe_themselves(
    model: Path, start_engine: Callable[..., Engine], without_cache: Callable[[list[int]], list[int]], tmp_path: Path
) -> None:
    own, theirs = tmp_path / "claim", tmp_path / "node"
    theirs.mkdir()
    extra = {
        "skip_slow_loads": False,
        "self_describing_kv_events": True,
        "backpressure": {"backpressure_cls": "EMABackpressureDetector"},
        "secondary_tiers": [{"type": "fs", "root_dir": str(theirs)}],
    }
    events = {"enable_kv_cache_events": True, "publisher": "null"}
    engine = start_engine(model, own, extra=extra, llm={"kv_events_config": events}).wait_ready()
    assert computed_then_loaded(engine, without_cache(PROMPT)) > 0
    assert [path for path in theirs.rglob("*") if path.is_file()], "the other tier got the blocks too"


def test_another_connector_within_multiconnector(
    model: Path, start_engine: Callable[..., Engine], without_cache: Callable[[list[int]], list[int]], tmp_path: Path
) -> None:
    ours = transfer_config(tmp_path / "claim", {"skip_slow_loads": False})
    other = {
        "kv_connector": "ExampleConnector",
        "kv_role": "kv_both",
        "kv_connector_extra_config": {"shared_storage_path": str(tmp_path / "other")},
    }
    both: dict[str, Any] = {
        "kv_connector": "MultiConnector",
        "kv_role": "kv_both",
        "kv_connector_extra_config": {"connectors": [ours, other]},
    }
    engine = start_engine(model, tmp_path, transfer=both).wait_ready()
    assert computed_then_loaded(engine, without_cache(PROMPT)) > 0

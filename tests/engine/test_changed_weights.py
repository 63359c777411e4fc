# SPDX-License-Identifier: Apache-2.0
"""What a user would lose: right answers, if blocks of weights that an engine no longer has were read, or stored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.engine.process import Engine, block_files, prompt, wait_for_blocks

pytestmark = pytest.mark.engine

BLOCKS = 4


def test_after_a_reload_of_weights_nothing_is_read_or_stored(
    model: Path, make_model: Callable[[int], Path], start_engine: Callable[..., Engine], tmp_path: Path
) -> None:
    """As reinforcement learning and a wake from a deep sleep do it. vLLM tells a connector nothing of it."""
    other = make_model(1)
    engine = start_engine(model, tmp_path, extra={"skip_slow_loads": False})
    reference = start_engine(other, None).wait_ready()
    engine.wait_ready()
    tokens, fresh = prompt(1, BLOCKS), prompt(2, BLOCKS)
    before = engine.generate(tokens)
    wait_for_blocks(tmp_path, BLOCKS)
    stored = block_files(tmp_path)
    assert engine.ask("reload", path=str(other)) == {"done": True}
    engine.forget()  # as whoever changes weights has to
    right = reference.generate(tokens)
    assert engine.generate(tokens) == right != before
    assert engine.generate(fresh) == reference.generate(fresh)
    engine.forget()
    assert engine.generate(fresh) == reference.generate(fresh)
    seen = engine.metrics()
    assert seen.total("loaded_blocks") == 0 and seen.ours("usable") == 0
    assert block_files(tmp_path) == stored
    assert "weights were changed while it runs" in engine.log.read_text()

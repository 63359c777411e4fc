# SPDX-License-Identifier: Apache-2.0
"""What a user would lose with several ranks: a cache that outlives the pod, if no other engine found its parts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.engine.process import Engine, wait_for_blocks
from tests.engine.test_tensor_parallel import BLOCKS, PROMPT, two_ranks

pytestmark = pytest.mark.engine


def test_both_ranks_parts_come_back_in_another_engine(
    model: Path, tmp_path: Path, start_engine: Callable[..., Engine]
) -> None:
    engine = start_engine(model, tmp_path, extra={"skip_slow_loads": False}, **two_ranks()).wait_ready()
    answer = engine.generate(PROMPT)
    wait_for_blocks(tmp_path, BLOCKS)
    engine.kill()
    other = start_engine(model, tmp_path, extra={"skip_slow_loads": False}, **two_ranks()).wait_ready()
    assert other.generate(PROMPT) == answer
    assert other.metrics().ours("loaded_blocks") == BLOCKS

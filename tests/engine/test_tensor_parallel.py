# SPDX-License-Identifier: Apache-2.0
"""What a user would lose with several ranks: right answers, if a block held but one rank's part, or another split's."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.engine.models import ROW_BYTES
from tests.engine.process import Engine, block_files, prompt, wait_for_blocks
from tests.engine.served import Served

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs a processor core for each of two ranks"),
]

BLOCKS = 10
PROMPT = prompt(11, BLOCKS)


def two_ranks() -> dict[str, object]:
    """Settings of an engine of two processes, each bound to a core of its own."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    return {
        "core_in_process": False,
        "environment": {"VLLM_CPU_OMP_THREADS_BIND": "|".join(map(str, cores))},
        "llm": {"tensor_parallel_size": 2, "distributed_executor_backend": "mp"},
    }


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def ranks(model: Path, root: Path, start_engine: Callable[..., Engine]) -> Iterator[Engine]:
    engine = start_engine(model, root, extra={"skip_slow_loads": False}, **two_ranks()).wait_ready()
    yield engine
    engine.kill()


@pytest.fixture(scope="module")
def answer(ranks: Engine, root: Path) -> list[int]:
    """What the engine of two ranks says; its blocks are in storage."""
    tokens = ranks.generate(PROMPT)
    wait_for_blocks(root, BLOCKS)
    return tokens


def test_both_ranks_parts_come_back(root: Path, ranks: Engine, answer: list[int]) -> None:
    """To the same engine: that one which was started later finds them too is the acceptance's to prove."""
    assert all(file.stat().st_size > ROW_BYTES for file in block_files(root)), "both parts, in one file a block"
    ranks.forget()
    assert ranks.generate(PROMPT) == answer
    assert ranks.metrics().ours("loaded_blocks") == BLOCKS


def test_an_engine_of_one_rank_shares_nothing_with_it(root: Path, answer: list[int], served: Served) -> None:
    """The bytes of two ranks follow each other in another order than those of one."""
    served.stored()
    (of_one,), (of_two,) = ([*claim.glob("*/manifest.json")] for claim in (served.root, root))
    one, two = (json.loads(manifest.read_text())["fields"] for manifest in (of_one, of_two))
    assert {name for name in one if one[name] != two[name]} == {"parallel", "block"}, "what else differs is a mistake"
    moved = shutil.copytree(of_two.parent, served.root / of_two.parent.name)
    assert served.loads(PROMPT) == 0
    shutil.rmtree(moved)

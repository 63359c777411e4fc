# SPDX-License-Identifier: Apache-2.0
"""What is written down of vLLM, and what the connector does to vLLM's own classes. No engine is started."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("vllm", reason="needs the engine environment")

import vllm
from vllm.v1.worker.gpu_worker import Worker

from llmd_storage_connector.vllm.internals import _WEIGHT_CHANGES, before_weight_change
from tests.vllm_interfaces import RECORDS, open_sources, record, used

pytestmark = pytest.mark.engine


def test_the_record_is_of_the_vllm_that_is_installed() -> None:
    """The unit tests' record of the other versions is made in the same way, from their published sources."""
    _, sources = open_sources(Path(vllm.__file__).parents[1])
    minor = ".".join(vllm.__version__.split(".")[:2])
    assert record(sources, used()) == json.loads((RECORDS / f"{minor}.json").read_text())


@pytest.mark.parametrize(
    "method, given, announced",
    [
        ("reload_weights", {}, 1),
        ("reset_weights", {}, 1),
        ("update_weights", {"update_info": {}}, 1),
        ("sleep", {}, 0),
        ("sleep", {"level": 2}, 1),
        ("discard", {"tags": ("kv_cache",)}, 0),
        ("discard", {"tags": ("weights",)}, 1),
    ],
)
def test_a_worker_says_when_its_weights_go(
    method: str, given: dict[str, object], announced: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks computed without weights, or with others, would be stored under the name of the old ones."""
    heard: list[str] = []

    def instead(worker: object, **arguments: object) -> None:
        heard.append("done")

    instead.__name__ = method
    for name in _WEIGHT_CHANGES:  # put back at the end
        monkeypatch.setattr(Worker, name, getattr(Worker, name))
    monkeypatch.setattr(Worker, method, instead)
    before_weight_change(lambda: heard.append("told"))
    before_weight_change(lambda: heard.append("told"))  # a second engine of this process: once, not twice
    getattr(Worker, method)(object(), **given)
    assert heard == ["told"] * announced + ["done"]

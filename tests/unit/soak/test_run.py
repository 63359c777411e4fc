# SPDX-License-Identifier: Apache-2.0
"""A user would lose: a wrong answer that a soak saw and took for right."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.engine.process import Metrics
from tests.soak.run import ANSWER_LIMIT_S, Drill, Report
from tests.soak.servers import BASE, EVENTS, OTHER, VERSIONS, Adapter, Server
from tests.unit.connector.conftest import Clock

PROMPTS = [[number] for number in range(4)]
RIGHT = {variant: [[place, *tokens] for tokens in PROMPTS] for place, variant in enumerate((BASE, OTHER, *VERSIONS))}
LOADED = "vllm:kv_offload_llmd_storage_loaded_blocks{tier=1:llmd_storage}"
START_S = 30.0


class FakeFS:
    """Storage that takes every fault."""

    alive = True

    def __init__(self, at: Path) -> None:
        self.at = self.source = at

    def nothing(self, **settings: object) -> None: ...

    set = stop = cont = kill = remount = nothing


class FakeEngine:
    """Answers as a vLLM that is right in all but what its kind says."""

    def __init__(self, clock: Clock, adapter: Path) -> None:
        self.clock, self.adapter = clock, adapter
        self.weights, self.version, self.took_s, self.asked = BASE, "", 0.1, 0
        self.killed = False

    def wait_ready(self) -> FakeEngine:
        self.clock.now += START_S
        return self

    def metrics(self) -> Metrics:
        return Metrics({LOADED: 1.0})

    def kill(self) -> None:
        self.killed = True

    def ask(self, do: str, **fields: Any) -> dict[str, Any]:
        assert not self.killed
        return getattr(self, do)(**fields)

    def generate(self, prompt: list[int], lora: str = "", **fields: Any) -> dict[str, Any]:
        self.asked += 1
        self.clock.now += 0.5
        return {"tokens": RIGHT[self.version if lora else self.weights][PROMPTS.index(prompt)], "seconds": self.took_s}

    def load_adapter(self, path: str, **fields: Any) -> dict[str, Any]:
        assert Path(path) == self.adapter
        self.version = (self.adapter / "weights").read_text()
        return {"done": True}

    def reset(self, **fields: Any) -> dict[str, Any]:
        return {"done": True}

    def reload(self, path: str, **fields: Any) -> dict[str, Any]:
        self.weights = path
        return {"done": True}


class KeepsOldAdapter(FakeEngine):
    """As one that answers from blocks of the adapter that was there first."""

    def load_adapter(self, path: str, **fields: Any) -> dict[str, Any]:
        self.version = self.version or (self.adapter / "weights").read_text()
        return {"done": True}


class KeepsOldWeights(FakeEngine):
    """As one that answers from blocks of the weights that were there first."""

    def reload(self, path: str, **fields: Any) -> dict[str, Any]:
        return {"done": True}


class Late(FakeEngine):
    def generate(self, **fields: Any) -> dict[str, Any]:
        return super().generate(**fields) | {"seconds": ANSWER_LIMIT_S + 1}


class Ends(FakeEngine):
    def generate(self, **fields: Any) -> dict[str, Any]:
        if self.asked == 20:
            raise RuntimeError("vLLM gave no answer")
        return super().generate(**fields)


@pytest.fixture
def soak(tmp_path: Path) -> Callable[..., tuple[Report, Sequence[Server]]]:
    """soak(kind of engine, seconds=...): a run of it, and its servers."""
    versions = {name: tmp_path / name for name in VERSIONS}
    for name, folder in versions.items():
        folder.mkdir()
        (folder / "weights").write_text(name)

    def run(kind: type[FakeEngine], seconds: float = 120.0) -> tuple[Report, Sequence[Server]]:
        clock, report = Clock(), Report(seed=3)
        adapter = Adapter(tmp_path / "adapter", versions)
        # A reload names the checkpoint by its path, which is here whose answers these are.
        servers: list[Any] = [
            Server(FakeFS(tmp_path / name), lambda: kind(clock, adapter.path), adapter, Path(OTHER))
            for name in ("a", "b")
        ]
        for server in servers:
            server.begin()
        Drill(servers, PROMPTS, RIGHT, report, random.Random(3), clock).run(seconds, lambda line: None)
        return report, servers

    return run


def test_two_minutes_have_all_that_half_an_hour_has(soak: Callable[..., Any]) -> None:
    report, servers = soak(FakeEngine)
    assert report.passed and not report.wrong
    assert set(report.events) == set(EVENTS)
    assert set(report.answers) == set(RIGHT), "of whom nothing was asked, nothing was shown"
    assert not any(server.has_other_weights for server in servers)
    # Counted before each restart, and at the end.
    assert report.loaded == len(servers) + report.events["weights reloaded"]
    assert str(report.answers.total()) in report.line() and report.as_json()["answers"][BASE] > 0


@pytest.mark.parametrize(("kind", "variants"), [(KeepsOldAdapter, set(VERSIONS)), (KeepsOldWeights, {OTHER})])
def test_answers_of_what_was_there_before_are_wrong(
    soak: Callable[..., Any], kind: type[FakeEngine], variants: set[str]
) -> None:
    report, _ = soak(kind, seconds=600.0)
    assert report.differed > 0 and not report.passed
    assert {one["of"] for one in report.wrong} <= variants


def test_a_late_answer_and_an_engine_that_ends_show(soak: Callable[..., Any]) -> None:
    late, _ = soak(Late)
    assert late.held_up == late.answers.total() > 0 and not late.passed
    ended, _ = soak(Ends)
    assert ended.ended == 1 and not ended.passed
    assert "gave no answer" in ended.wrong[-1]["end"]


def test_without_storage_nothing_is_shown(soak: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeEngine, "metrics", lambda self: Metrics())
    report, _ = soak(FakeEngine)
    assert report.differed == report.held_up == report.ended == 0 and not report.passed


def test_an_adapter_is_replaced_by_renaming(tmp_path: Path) -> None:
    """An engine may have the old file mapped: cutting that short would end it."""
    versions = {name: tmp_path / name for name in VERSIONS}
    for name, folder in versions.items():
        folder.mkdir()
        (folder / "weights").write_text(name)
    adapter = Adapter(tmp_path / "adapter", versions)
    adapter.publish(VERSIONS[0])
    with (adapter.path / "weights").open() as mapped:
        adapter.publish(VERSIONS[1])
        assert mapped.read() == VERSIONS[0]
    assert [file.name for file in adapter.path.iterdir()] == ["weights"]
    assert (adapter.path / "weights").read_text() == VERSIONS[1]

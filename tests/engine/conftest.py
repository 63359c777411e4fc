# SPDX-License-Identifier: Apache-2.0
"""Tiny random models, real vLLMs, and what one without a cache answers."""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

if importlib.util.find_spec("vllm") is None:  # importing it takes seconds
    pytest.skip("needs the engine environment", allow_module_level=True)

from tests.engine.models import ROW_BYTES, write_llama
from tests.engine.process import Engine, transfer_config
from tests.engine.served import Served
from tests.faultfs import FaultFS, mounted
from tests.results import KEPT

# Of the engine that goes through all faults: its deadlines, which storage that is well never comes near, also on a busy
# machine; and the blocks its CPU tier holds.
LOOKUP_S, LOAD_S, STORE_S = 3.0, 5.0, 8.0
ROWS = 128
LOGS = pytest.StashKey[Path]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure names the folder that has the engines' logs."""
    report = yield
    if report.failed and (logs := item.config.stash.get(LOGS, None)):
        report.user_properties.append((KEPT, os.path.relpath(logs)))
    return report


@pytest.fixture(scope="session")
def make_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """make_model(seed) -> directory of a tiny random Llama."""
    return lambda seed: write_llama(tmp_path_factory.mktemp(f"model-{seed}"), seed)


@pytest.fixture(scope="session")
def model(make_model: Callable[[int], Path]) -> Path:
    """Read only: a test that changes weights copies it."""
    return make_model(0)


@pytest.fixture(scope="session")
def start_engine(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[Callable[..., Engine]]:
    """start_engine(model, root, **setup) -> an engine that is still starting: call wait_ready().

    root None: without the connector and without any prefix cache. transfer: another --kv-transfer-config than usual.
    """
    logs = pytestconfig.stash[LOGS] = tmp_path_factory.mktemp("logs")
    engines: list[Engine] = []

    def start(
        model: Path,
        root: Path | None,
        *,
        extra: dict[str, Any] | None = None,
        transfer: dict[str, Any] | None = None,
        **setup: Any,
    ) -> Engine:
        if root is None:
            setup["llm"] = {"enable_prefix_caching": False} | setup.get("llm", {})
        config = None if root is None else transfer or transfer_config(root, extra)
        engine = Engine(logs / f"engine-{len(engines)}.log", model, config, **setup)
        engines.append(engine)
        return engine

    yield start
    for engine in engines:
        engine.kill()


@pytest.fixture(scope="session")
def without_cache(model: Path, start_engine: Callable[..., Engine]) -> Callable[[list[int]], list[int]]:
    """without_cache(prompt) -> the tokens of an engine that computes everything. It starts beside the others."""
    engine = start_engine(model, None)
    ready = functools.cache(engine.wait_ready)
    return lambda tokens: ready().generate(tokens)


@pytest.fixture(scope="session")
def fs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultFS]:
    folder = tmp_path_factory.mktemp("sick")
    (folder / "source").mkdir()
    with mounted(folder / "source", folder / "claim") as fs:
        yield fs


@pytest.fixture(scope="session")
def all_faults(
    fs: FaultFS, model: Path, start_engine: Callable[..., Engine], without_cache: Callable[[list[int]], list[int]]
) -> Served:
    """One engine goes through all faults, one after the other: each has to leave it as it was."""
    extra = {
        "cpu_bytes_to_use": ROWS * ROW_BYTES,
        "lookup_deadline_s": LOOKUP_S,
        "load_deadline_s": LOAD_S,
        "store_deadline_s": STORE_S,
        # Computing is cheap for a tiny model: it would never load while the machine is busy.
        "skip_slow_loads": False,
    }
    return Served(start_engine(model, fs.at, extra=extra).wait_ready(), fs.source, without_cache)


@pytest.fixture
def served(all_faults: Served) -> Served:
    """That engine, for what is no fault of the storage as a whole."""
    return all_faults


@pytest.fixture
def sick(all_faults: Served, fs: FaultFS) -> Iterator[Served]:
    """That engine; afterwards the fault is gone, and the engine gets well by itself or the test fails."""
    yield all_faults
    fs.set()
    if fs.alive:
        fs.cont()
    else:
        fs.remount()
    all_faults.uses_storage_again()

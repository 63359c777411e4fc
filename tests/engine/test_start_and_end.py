# SPDX-License-Identifier: Apache-2.0
"""What a user would lose when storage is not there while an engine starts or ends: pods that never get ready or go."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.engine.process import Engine
from tests.engine.served import Served
from tests.faultfs import FaultFS, mounted
from tests.patience import CEILING_S, eventually

pytestmark = pytest.mark.engine

SLOW_US = 1_000_000


@pytest.fixture(scope="module")
def hung(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultFS]:
    folder = tmp_path_factory.mktemp("hung")
    (folder / "source").mkdir()
    with mounted(folder / "source", folder / "claim") as fs:
        fs.stop()
        yield fs


@pytest.fixture(scope="module")
def refusing(model: Path, tmp_path_factory: pytest.TempPathFactory, start_engine: Callable[..., Engine]) -> Engine:
    """An engine that is told to stop rather than to serve without storage, and has none."""
    blocked = tmp_path_factory.mktemp("missing") / "file"
    blocked.write_text("not a folder")
    return start_engine(model, blocked / "claim", extra={"fail_fast": True})


@pytest.fixture(scope="module")
def served(
    refusing: Engine,  # starts meanwhile
    hung: FaultFS,
    model: Path,
    start_engine: Callable[..., Engine],
    without_cache: Callable[[list[int]], list[int]],
) -> Served:
    extra = {"lookup_deadline_s": 2, "load_deadline_s": 3}
    return Served(start_engine(model, hung.at, extra=extra).wait_ready(), hung.source, without_cache)


def test_an_engine_starts_and_serves_while_storage_hangs(served: Served) -> None:
    served.check()
    assert served.engine.metrics().ours("usable") == 0


def test_storage_that_comes_later_is_used_without_a_restart(served: Served, hung: FaultFS) -> None:
    hung.cont()
    served.engine.wait_until(
        lambda seen: seen.ours("usable") == 1 and seen.ours("breaker_open") == 0, "storage to be used"
    )
    served.stored()


def be_quick(fs: FaultFS) -> None:
    """Again, and be through with what was begun: stopped in its midst, that can be ended by nobody, not by kill -9."""
    fs.set()
    time.sleep(3 * SLOW_US / 1e6)


def left_alone(served: Served, prompts: Callable[[], list[int]]) -> None:
    """Ask until storage is. Bad moments within a second are one, so how often is a matter of how fast the engine is."""
    seen = served.engine.metrics().ours("lookup_misses", reason="slower")

    def is_left_alone() -> bool:
        served.engine.forget()
        served.check(prompts())
        return served.engine.metrics().ours("lookup_misses", reason="slower") > seen

    eventually(is_left_alone, "storage to be left alone")


def test_storage_that_is_slower_than_computing_is_left_alone(served: Served, hung: FaultFS) -> None:
    """Each read takes a second, below the deadline of a load; ten blocks are computed in a twentieth of that."""
    kept = itertools.cycle([served.stored()[0] for _ in range(3)])
    hung.set(delay_us=SLOW_US, meta_us=0)
    left_alone(served, lambda: next(kept))
    be_quick(hung)


def test_fail_fast_stops_the_engine_with_one_sentence(refusing: Engine) -> None:
    with pytest.raises(RuntimeError, match="no answer"):
        refusing.wait_ready()
    assert refusing.process.wait(CEILING_S) != 0
    last = refusing.log.read_text().strip().splitlines()[-1]
    assert "root_dir" in last or "claim" in last, last


def test_an_engine_ends_while_storage_hangs(served: Served, hung: FaultFS) -> None:
    """The last of this module. A pod that does not end keeps its GPU until the kubelet kills it."""
    hung.stop()
    served.check()
    served.engine.ask("shutdown")
    served.engine.end()

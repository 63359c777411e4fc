# SPDX-License-Identifier: Apache-2.0
"""What a user would lose if the budget were not held while two engines write: the disk, answers, or right tokens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import pytest

from tests.bench.evictor_budget import Watch, size_of
from tests.engine.models import ROW_BYTES
from tests.engine.process import Engine, prompt
from tests.faultfs.mounts import small

pytestmark = pytest.mark.engine

REPO = Path(__file__).parents[3]
FILE_BYTES = ROW_BYTES + 4096
BLOCKS = 10
BUDGET = 80 * FILE_BYTES
FLOOR = 16 * FILE_BYTES
VOLUME = 140 * FILE_BYTES + 600 * 4096


class Evictors:
    """Two processes that keep one directory; the lock on the storage says who leads."""

    def __init__(self, root: Path, folder: Path) -> None:
        self._config = folder / "evictor.json"
        self._folder, self._started = folder, 0
        settings = {"root_dir": str(root), "budget_bytes": BUDGET, "free_floor_bytes": FLOOR, "probe_dir": ""}
        self._config.write_text(json.dumps(settings | {"leader_election": False, "http_port": 0}))
        self.processes = [self.start(), self.start()]

    def start(self) -> subprocess.Popen[bytes]:
        self._started += 1
        paths = os.pathsep.join(str(REPO / part) for part in ("evictor/src", "connector/src", "core/src"))
        # The project's own environment: the engine's has no need of what the evictor needs.
        command = [str(REPO / ".venv/bin/python"), "-m", "llmd_storage_evictor", "run", "--config", str(self._config)]
        with (self._folder / f"evictor-{self._started}.log").open("wb") as out:
            return subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, "PYTHONPATH": paths})

    def led(self) -> list[tuple[float, str]]:
        """(when, by whom) each began to lead, by their logs."""
        lines = [line for log in self._folder.glob("evictor-*.log") for line in log.read_text().splitlines()]
        found = [json.loads(line) for line in lines if "leading as" in line]
        return sorted((datetime.fromisoformat(one["time"]).timestamp(), one["message"]) for one in found)

    def kill_the_leader(self) -> float:
        """Returns: when."""
        pid = int(self.led()[-1][1].partition(",")[0].rpartition("_")[2])
        (leader,) = (one for one in self.processes if one.pid == pid)
        leader.send_signal(signal.SIGKILL)
        leader.wait()
        return time.time()

    def end(self) -> None:
        for process in self.processes:
            with suppress(ProcessLookupError):
                process.kill()
            process.wait()


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with small(tmp_path_factory.mktemp("kept") / "claim", VOLUME) as mount:
        (mount / "blocks").mkdir()
        yield mount


@pytest.fixture(scope="module")
def evictors(volume: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evictors]:
    both = Evictors(volume / "blocks", tmp_path_factory.mktemp("evictors"))
    yield both
    both.end()


@pytest.fixture(scope="module")
def engines(
    volume: Path, evictors: Evictors, model: Path, start_engine: Callable[..., Engine]
) -> Iterator[tuple[Engine, Engine]]:
    both = [start_engine(model, volume / "blocks", extra={"skip_slow_loads": False}) for _ in range(2)]
    yield both[0].wait_ready(), both[1].wait_ready()
    for engine in both:
        engine.kill()


def stored(engines: tuple[Engine, Engine]) -> float:
    return sum(engine.metrics().ours("stored_bytes") for engine in engines)


def test_five_budgets_by_two_engines_and_the_leader_killed_in_the_middle(
    volume: Path,
    evictors: Evictors,
    engines: tuple[Engine, Engine],
    without_cache: Callable[[list[int]], list[int]],
    figures: Callable[..., None],
) -> None:
    watch, answers, failed = Watch(volume / "blocks"), dict[int, list[int]](), list[BaseException]()
    enough, stored_by = threading.Event(), [0.0, 0.0]

    def load(engine: Engine, first: int) -> None:
        """New prompts, and each third time one that the other engine was asked for just now."""
        number = first
        try:
            while not enough.is_set():
                answers[number] = engine.generate(prompt(number, BLOCKS))
                stored_by[first % 2] = engine.metrics().ours("stored_bytes")
                other = number - 1 if first % 2 else number - 3
                if number % 3 == 0 and other in answers:
                    engine.forget()
                    assert engine.generate(prompt(other, BLOCKS)) == answers[other], "a wrong token"
                number += 2
        except BaseException as error:
            failed.append(error)

    watch.start()
    threads = [threading.Thread(target=load, args=(engine, 10_000 + at)) for at, engine in enumerate(engines)]
    for thread in threads:
        thread.start()
    began, killed = time.monotonic(), 0.0
    while (written := sum(stored_by)) < 5 * BUDGET and not failed:
        assert time.monotonic() - began < 600, f"{written / BUDGET:.1f} budgets were written"
        if not killed and written > 2 * BUDGET:
            killed = evictors.kill_the_leader()
        time.sleep(0.5)
    enough.set()
    for thread in threads:
        thread.join()
    watch.end()
    took_over = next(at for at, _ in evictors.led() if at > killed) - killed
    figures(most_held_of_budget=watch.most / BUDGET, looks=watch.looks, takeover_s=round(took_over, 1))
    assert not failed, failed
    assert killed and took_over <= 15
    assert watch.most <= 1.02 * BUDGET
    for number in sorted(answers)[-4:]:
        assert answers[number] == without_cache(prompt(number, BLOCKS))


def test_a_volume_filled_by_something_else_shrinks_the_cache_and_writing_resumes(
    volume: Path, evictors: Evictors, engines: tuple[Engine, Engine]
) -> None:
    before, blocks = stored(engines), size_of(volume / "blocks")
    with (volume / "ballast").open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
    limit, number, shrunk = time.monotonic() + 90, 20_000, False
    while not shrunk or stored(engines) <= before:
        shrunk = shrunk or size_of(volume / "blocks") <= blocks - FLOOR / 2
        assert time.monotonic() < limit, f"the cache shrank: {shrunk}; something was stored: {stored(engines) > before}"
        assert len(engines[0].generate(prompt(number, BLOCKS))) == 8
        number += 1
        time.sleep(0.5)
    (volume / "ballast").unlink()

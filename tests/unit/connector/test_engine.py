# SPDX-License-Identifier: Apache-2.0
"""A user would lose: requests that wait for sick storage, or memory that is overwritten after its return."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import itertools
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llmd_storage_connector.blocks.buffer import BlockBuffer
from llmd_storage_connector.blocks.crew import PythonCrew
from llmd_storage_connector.blocks.data_path import BlockRead, DataPath, Move, Row
from llmd_storage_connector.blocks.format import BlockSpec
from llmd_storage_connector.blocks.gate import LockedGate
from llmd_storage_connector.blocks.mount_probe import Mount
from llmd_storage_connector.blocks.native import best_path
from llmd_storage_connector.blocks.result import BlockResult
from llmd_storage_connector.blocks.store import BlockStore
from llmd_storage_connector.engine import background as background_module
from llmd_storage_connector.engine import engine as engine_module
from llmd_storage_connector.engine.engine import LOOK_EVERY_S, StorageEngine
from llmd_storage_connector.errors import Pending, Unusable
from llmd_storage_connector.eviction import budget_client
from llmd_storage_connector.eviction.budget_client import ROOM, WRITERS
from llmd_storage_connector.eviction.invalidation_feed import STATE
from llmd_storage_connector.lookup.service import LookupStatus
from llmd_storage_connector.telemetry.metrics import Counters
from llmd_storage_connector.transfer import cost_model
from llmd_storage_connector.transfer.scheduler import Phase
from llmd_storage_connector.transfer.tasks import Direction, FinishedJob, Job
from tests.patience import CEILING_S, eventually
from tests.unit.connector.conftest import (
    PAYLOAD_BYTES,
    address_of,
    content,
    get,
    key,
    make_config,
    make_facts,
    make_spec,
)

FOR_EVER_S = 1e9


class Memory:
    """Rows in a bytearray."""

    def __init__(self, chunks: int) -> None:
        self.bytes = bytearray(chunks * PAYLOAD_BYTES)
        self._begin = address_of(self.bytes)

    def chunk(self, chunk: int) -> memoryview:
        return memoryview(self.bytes)[chunk * PAYLOAD_BYTES : (chunk + 1) * PAYLOAD_BYTES]

    def address(self, chunk: int) -> int:
        return self._begin + chunk * PAYLOAD_BYTES


class SickPath:
    """A data path whose calls wait for the store's `well` where asked to."""

    def __init__(self, store: SickStore, real: DataPath) -> None:
        self._store, self._real = store, real
        self.name, self.new_gate = real.name, real.new_gate

    def read(self, move: Move, *arguments: Any) -> BlockRead:
        try:
            self._store.suffer(move.key)
        except OSError as error:
            return BlockRead(self._real.read(move, *arguments).found, error)
        return self._real.read(move, *arguments)

    def new_crew(self) -> PythonCrew:
        """Every block goes through here, one by one."""
        return PythonCrew()

    def write(self, *arguments: Any, **how: Any) -> None:
        self._store._maybe_hang("put")
        self._real.write(*arguments, **how)
        self._store._maybe_hang("late write")  # all is written, and the last call comes back late


class SickStore(BlockStore):
    """A store whose calls wait for `well` where asked to."""

    def __init__(self, root: Path, data_path: DataPath) -> None:
        facts = make_facts()
        super().__init__(root, facts, make_spec(facts), "link", path=SickPath(self, data_path))
        self.well = threading.Event()
        self.hanging: set[str] = set()
        self.broken: set[bytes] = set()
        self.stuck: set[bytes] = set()
        self.failing: dict[bytes, int] = {}
        self.refuses = ""
        self.gone, self.checked = False, 0
        self.opened: list[bytes] = []

    def _maybe_hang(self, call: str) -> None:
        if call in self.hanging:
            self.well.wait()  # to the end of the test, whatever that is

    def open(self) -> None:
        self._maybe_hang("open")
        super().open()

    def contains(self, key: bytes) -> BlockResult:
        self._maybe_hang("contains")
        return super().contains(key)

    def load(self, key: bytes, buffer: BlockBuffer, row: Row) -> BlockResult:
        self._maybe_hang("open_block")
        self.opened.append(key)
        return super().load(key, buffer, row)

    def suffer(self, key: bytes) -> None:
        """What a read of the block does before it reads."""
        self._maybe_hang("read")
        if key in self.stuck:
            self.well.wait()
        if key in self.broken:
            raise RuntimeError("a bug")
        if key in self.failing:
            raise OSError(self.failing[key], "as asked for")

    def put(self, key: bytes, buffer: BlockBuffer, row: Row) -> BlockResult:
        return BlockResult(False, self.refuses) if self.refuses else super().put(key, buffer, row)

    def try_writing(self) -> BlockResult:
        return BlockResult(False, self.refuses) if self.refuses else super().try_writing()

    def is_healthy(self) -> bool:
        self.checked += 1
        self._maybe_hang("is_healthy")
        return not self.gone and super().is_healthy()


class Bench:
    """An engine over a store, with helpers that play vLLM's scheduler."""

    def __init__(self, store: SickStore, needs_full_prefix: bool = False, **settings: object) -> None:
        self.store, self.memory, self.counters = store, Memory(16), Counters()
        self.counts: dict[tuple[str, str], int] = {}
        self._jobs = itertools.count(1000)
        config = make_config(**({"io_threads": 4, "lookup_threads": 4, "lookup_deadline_s": 2} | settings))
        self.engine = StorageEngine(
            store, self.memory, config, self.counters, tokens_per_block=64, needs_full_prefix=needs_full_prefix
        )
        self.engine.start()

    def from_now_on(self, **settings: Any) -> None:
        """For jobs that come after: a deadline that one is to miss must not be another's on a busy machine."""
        self.engine._config = dataclasses.replace(self.engine._config, **settings)

    def results(self, count: int = 1) -> list[FinishedJob]:
        found: list[FinishedJob] = []

        def enough() -> bool:
            found.extend(self.engine.finished())
            return len(found) >= count

        eventually(enough, f"{count} results", every_s=0.001)
        assert len(found) == count
        return found

    def ask(self, number: int, request: str = "r") -> LookupStatus:
        answer = LookupStatus.RETRY

        def answered() -> bool:
            nonlocal answer
            answer = self.engine.lookup(request, key(number))
            self.engine.end_step()
            return answer is not LookupStatus.RETRY

        eventually(answered, "an answer", every_s=0.001)
        return answer

    def store_rows(self, numbers: list[int], job: int = 100) -> FinishedJob:
        for number in numbers:
            self.memory.chunk(number)[:] = content(number + 1)
        self.engine.submit_store(job, "r", [key(number) for number in numbers], numbers)
        return self.results()[0]

    def loads(self, number: int, chunk: int) -> bool:
        self.engine.submit_load(next(self._jobs), "r", [key(number)], [chunk])
        return self.results()[0].success

    def another(self) -> str:
        """A request that has heard nothing yet."""
        return f"another-{next(self._jobs)}"

    def counted(self, name: str, detail: str = "") -> int:
        for place, count in self.counters.take().items():
            self.counts[place] = self.counts.get(place, 0) + count
        return self.counts.get((name, detail), 0)


@pytest.fixture
def sick(tmp_path: Path, data_path: DataPath) -> SickStore:
    return SickStore(tmp_path / "root", data_path)


@pytest.fixture
def bench(sick: SickStore) -> Iterator[Callable[..., Bench]]:
    benches: list[Bench] = []

    def make(**settings: object) -> Bench:
        benches.append(Bench(sick, **settings))
        return benches[-1]

    yield make
    sick.well.set()
    for made in benches:
        made.engine.close(5)


def test_blocks_go_out_and_come_back(bench: Callable[..., Bench]) -> None:
    play = bench()
    assert play.engine.wait_open(CEILING_S) is Phase.READY
    assert play.ask(0) is LookupStatus.MISS
    assert play.store_rows([0, 1, 2, 3]).success
    assert play.ask(0, "r2") is LookupStatus.HIT
    play.engine.submit_load(1, "r2", [key(n) for n in range(4)], [8, 9, 10, 11])
    (result,) = play.results()
    assert result.success
    assert len(result.moved) == 4
    for number in range(4):
        assert play.memory.chunk(8 + number) == play.memory.chunk(number)
    assert play.counted("loaded_blocks") == play.counted("stored_blocks") == 4
    assert play.counted("lookup_misses", "absent") == 1


def test_what_is_known_to_be_there_is_not_stored_again(bench: Callable[..., Bench]) -> None:
    play = bench()
    play.store_rows([0])
    assert play.store_rows([0], job=101).moved == ()
    assert play.counted("store_existing") == 1


def test_a_partly_failed_load_keeps_what_came_and_is_not_asked_for_again(
    bench: Callable[..., Bench], sick: SickStore
) -> None:
    """Else vLLM hears "there", loads, fails, and asks again for ever."""
    play = bench()
    play.store_rows([0, 1])
    assert play.ask(1) is LookupStatus.HIT
    Path(sick.path(key(1))).unlink()
    play.engine.submit_load(1, "r", [key(0), key(1)], [8, 9])
    (result,) = play.results()
    assert (result.succeeded, result.failed) == ((key(0),), (key(1),))
    assert play.ask(1) is LookupStatus.MISS
    assert play.counted("load_failures", "absent") == 1


def cut(file: Path) -> None:
    os.truncate(file, 0)
    os.utime(file, (0, 0))  # a young file may be one that is still being written


@pytest.mark.parametrize("damage", [Path.unlink, cut])
def test_a_hole_in_a_prefix_ends_its_load(
    bench: Callable[..., Bench], sick: SickStore, damage: Callable[[Path], None]
) -> None:
    """A request would wait for thousands of blocks of which it can use none."""
    play = bench(io_threads=1, needs_full_prefix=True)
    play.store_rows(list(range(8)))
    assert play.ask(3) is LookupStatus.HIT
    damage(Path(sick.path(key(3))))
    play.engine.submit_load(1, "r", [key(number) for number in range(8)], list(range(8, 16)))
    (result,) = play.results()
    assert set(result.succeeded) == {key(0), key(1), key(2)}
    assert set(result.failed) == {key(number) for number in range(3, 8)}
    assert key(4) not in sick.opened, "a block behind the hole was read"
    assert play.counted("load_failures", "behind_hole") == 4
    assert play.ask(3) is play.ask(7) is LookupStatus.MISS
    # Nothing speaks against those behind it: others may be told of them, and the hole is stored again.
    assert play.ask(7, play.another()) is LookupStatus.HIT
    assert play.store_rows([3], job=200).moved == (key(3),)
    play.engine.submit_load(2, "s", [key(number) for number in range(8)], list(range(8, 16)))
    assert play.results()[0].success


def test_the_first_block_of_a_run_that_fails_is_judged_before_the_rest_is_tried(
    bench: Callable[..., Bench], sick: SickStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a mount that is gone is asked for sixteen blocks by every thread before anybody hears of it."""
    play = bench(io_threads=1)
    play.store_rows(list(range(8)))
    sick.failing[key(2)] = errno.EIO
    tried: list[set[bytes]] = []
    monkeypatch.setattr(play.engine.parts.breaker, "failed", lambda *_: tried.append(set(sick.opened)))
    play.engine.submit_load(1, "r", [key(number) for number in range(8)], list(range(8, 16)))
    (result,) = play.results()
    assert tried == [{key(0), key(1), key(2)}]
    assert set(result.failed) == {key(2)}, "the rest was to be had"


def test_blocks_that_are_of_use_alone_are_loaded_whatever_is_missing(
    bench: Callable[..., Bench], sick: SickStore
) -> None:
    """Layers that look at the last tokens only need the last blocks only."""
    play = bench(io_threads=1)
    play.store_rows(list(range(8)))
    Path(sick.path(key(3))).unlink()
    play.engine.submit_load(1, "r", [key(number) for number in range(8)], list(range(8, 16)))
    assert set(play.results()[0].failed) == {key(3)}


def test_a_load_with_a_hole_is_judged_by_what_is_of_use() -> None:
    """Else it would be given up for the blocks that it does not wait for."""
    gate, hole = LockedGate(), (key(6), key(7))
    job = Job(1, Direction.LOAD, "r", [key(number) for number in range(8)], 0.0, 1e9, gate, behind_hole=hole)
    assert gate.enter()
    gate.leave(6 * PAYLOAD_BYTES)
    assert job.progress(2.0, PAYLOAD_BYTES, 0).part == 1.0


def test_a_bug_in_the_store_is_a_failed_block(bench: Callable[..., Bench], sick: SickStore) -> None:
    play = bench()
    play.store_rows([0, 1])
    sick.broken.add(key(1))
    play.engine.submit_load(1, "r", [key(0), key(1)], [8, 9])
    (result,) = play.results()
    assert result.failed == (key(1),)
    assert play.counted("load_failures", "internal") == 1


def test_a_hanging_lookup_costs_a_request_its_deadline_once(bench: Callable[..., Bench], sick: SickStore) -> None:
    play = bench(lookup_deadline_s=0.2)
    play.engine.wait_open(CEILING_S)
    sick.hanging.add("contains")
    assert [play.ask(number) for number in range(10)] == [LookupStatus.MISS] * 10
    # No call of the scheduler waited, and what it was told stays so for the request.
    sick.well.set()
    time.sleep(0.1)
    assert play.ask(0) is LookupStatus.MISS
    assert play.counted("deadline_misses", "lookup") == 10


def test_a_hanging_load_ends_at_its_deadline_and_never_touches_the_row_again(
    bench: Callable[..., Bench], sick: SickStore
) -> None:
    play = bench(load_deadline_s=0.2)
    play.store_rows([0, 1])
    sick.hanging.add("read")
    play.engine.submit_load(1, "r", [key(0), key(1)], [8, 9])
    (result,) = play.results()
    assert result.failed == (key(0), key(1))
    assert play.engine.parts.cache.get(key(0)).present is False
    # The rows belong to someone else now; the late read must not land there.
    play.memory.chunk(8)[:] = b"\xee" * PAYLOAD_BYTES
    sick.well.set()
    time.sleep(0.2)
    assert play.memory.chunk(8) == b"\xee" * PAYLOAD_BYTES
    assert play.engine.finished() == []
    # The threads are of use again.
    sick.hanging.clear()
    assert play.counted("deadline_misses", "load") == 1
    eventually(lambda: play.loads(1, 10), "a load in time")


def test_a_hanging_store_frees_its_rows_and_never_stores_what_came_into_them(
    bench: Callable[..., Bench], sick: SickStore
) -> None:
    play = bench(store_deadline_s=0.2)
    play.engine.wait_open(CEILING_S)
    sick.hanging.add("put")
    assert not play.store_rows([0]).success
    play.memory.chunk(0)[:] = b"\xee" * PAYLOAD_BYTES  # reused by vLLM
    sick.well.set()
    sick.hanging.clear()
    time.sleep(0.2)
    assert not get(sick, key(0))[0].ok
    eventually(lambda: play.store_rows([1], job=101).success, "a store in time")


def test_a_store_that_was_reported_as_failed_never_appears(bench: Callable[..., Bench], sick: SickStore) -> None:
    play = bench(store_deadline_s=0.2)
    play.engine.wait_open(CEILING_S)
    sick.hanging.add("late write")
    assert not play.store_rows([0]).success
    sick.well.set()
    sick.hanging.clear()
    play.from_now_on(store_deadline_s=CEILING_S)
    assert play.store_rows([1], job=2).success
    eventually(lambda: not list(Path(sick.folder).rglob("*.tmp")), "the late write to end", every_s=0.01)
    assert not Path(sick.path(key(0))).exists()


def test_stores_beyond_the_queue_are_dropped_at_once(bench: Callable[..., Bench], sick: SickStore) -> None:
    play = bench(store_queue_bytes=2 * PAYLOAD_BYTES)
    sick.hanging.add("put")
    play.engine.submit_store(1, "r", [key(0), key(1)], [0, 1])
    play.engine.submit_store(2, "r", [key(2), key(3)], [2, 3])
    (dropped,) = play.results()
    assert (dropped.job_id, dropped.failed) == (2, (key(2), key(3)))
    assert play.counted("store_drops", "queue_full") == 2
    sick.well.set()
    assert play.results()[0].success
    sick.hanging.clear()
    assert play.store_rows([4, 5], job=3).success


def test_loads_pass_hanging_stores(bench: Callable[..., Bench], sick: SickStore) -> None:
    """Stores never hold the last quarter of the threads."""
    play = bench()
    play.store_rows([0])
    sick.hanging.add("put")
    play.engine.submit_store(1, "r", [key(n) for n in range(1, 9)], list(range(1, 9)))
    time.sleep(0.1)
    play.engine.submit_load(2, "r", [key(0)], [10])
    assert play.results()[0].job_id == 2


def test_requests_take_turns(bench: Callable[..., Bench], sick: SickStore) -> None:
    play = bench(io_threads=1)
    play.store_rows(list(range(8)))
    sick.opened.clear()
    sick.stuck.add(key(0))
    play.engine.submit_load(1, "long", [key(n) for n in range(7)], list(range(8, 15)))
    play.engine.submit_load(2, "short", [key(7)], [15])
    eventually(lambda: play.engine.parts.crew._waiting == 7, "both to be handed out", every_s=0.001)
    sick.well.set()
    play.results(2)
    assert sick.opened[:2] == [key(0), key(7)]


def test_drain_ends_everything_in_time(bench: Callable[..., Bench], sick: SickStore) -> None:
    play = bench()
    play.store_rows([0])
    assert play.engine.drain(5)
    sick.hanging |= {"read", "put"}
    play.engine.submit_load(1, "r", [key(0)], [8])
    play.engine.submit_store(2, "r", [key(1)], [1])
    assert not play.engine.drain(0.2)
    assert {result.job_id for result in play.results(2)} == {1, 2}


def test_close_is_bounded_and_says_what_hangs(bench: Callable[..., Bench], sick: SickStore) -> None:
    play = bench()
    play.store_rows([0])
    sick.hanging.add("read")
    play.engine.submit_load(1, "r", [key(0)], [8])
    time.sleep(0.1)
    assert play.engine.close(0.3) == 1
    assert play.engine.lookup("r", key(0)) is LookupStatus.MISS
    sick.well.set()
    time.sleep(0.1)
    assert bytes(play.memory.chunk(8)) == bytes(PAYLOAD_BYTES)


def test_while_opening_hangs_requests_wait_their_deadline_only(bench: Callable[..., Bench], sick: SickStore) -> None:
    sick.hanging.add("open")
    play = bench(lookup_deadline_s=0.2)
    assert play.ask(0) is LookupStatus.MISS
    sick.well.set()
    assert play.engine.wait_open(CEILING_S) is Phase.READY
    assert play.store_rows([0]).success
    eventually(lambda: play.ask(0, play.another()) is LookupStatus.HIT, "an answer in time")


def test_an_unusable_store_answers_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    play = Bench(SickStore(tmp_path / "file" / "root", best_path()))
    assert play.engine.wait_open(CEILING_S) is Phase.UNUSABLE
    assert isinstance(play.engine.fault, Unusable)
    assert play.engine.lookup("r", key(0)) is LookupStatus.MISS
    assert not play.store_rows([0]).success
    play.engine.submit_load(5, "r", [key(0)], [0])
    assert not play.results()[0].success
    assert play.counted("store_drops", "unusable") == 1
    assert play.engine.close(5) == 0


def test_jobs_queued_before_the_store_proved_unusable_end(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = SickStore(tmp_path / "file" / "root", best_path())
    store.hanging.add("open")
    play = Bench(store)
    play.engine.submit_store(1, "r", [key(0)], [0])
    store.well.set()
    assert not play.results()[0].success
    play.engine.close(5)


def test_what_is_late_is_looked_for_now_and_then(bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at every step, which it would make longer."""
    play, looks = bench(), list[float]()
    for part in (0, 0, 0.5, 1.5, 2, 2.6):
        now = 1.0 + part * LOOK_EVERY_S
        monkeypatch.setattr(play.engine, "_clock", lambda now=now: now)
        monkeypatch.setattr(play.engine, "_cancel_late", lambda part=part: looks.append(part))
        play.engine.finished()
    assert looks == [0, 1.5, 2.6]


def test_every_job_ends_exactly_once_under_load(bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    """Deadlines race with threads: no job may be lost or reported twice."""
    monkeypatch.setattr(engine_module, "LOOK_EVERY_S", 0.0)
    play = bench(load_deadline_s=0.003, store_deadline_s=0.003, store_queue_bytes=5 * PAYLOAD_BYTES)
    play.engine.wait_open(CEILING_S)
    seen: list[int] = []
    for job in range(400):
        keys, chunks = [key(job + n) for n in range(3)], [0, 1, 2]
        submit = play.engine.submit_load if job % 2 else play.engine.submit_store
        submit(job, "r", keys, chunks)
        seen += [result.job_id for result in play.engine.finished()]
    play.engine.drain(5)
    seen += [result.job_id for result in play.engine.finished()]
    assert sorted(seen) == list(range(400))


def test_spec_refuses_nonsense() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        BlockSpec(b"short", 1)
    with pytest.raises(ValueError, match="positive"):
        BlockSpec(bytes(32), 0)


def test_after_few_missed_deadlines_nothing_waits_until_storage_is_well_again(
    bench: Callable[..., Bench], sick: SickStore
) -> None:
    play = bench(lookup_deadline_s=0.2)
    assert play.store_rows([0, 1]).success
    play.engine.parts.cache.clear()  # another engine's blocks, as far as this one knows
    sick.hanging = {"contains", "read", "put", "is_healthy"}
    for number, request in enumerate(("first", "second")):
        assert play.ask(number, request) is LookupStatus.MISS
    play.engine.end_step()
    assert play.engine.parts.breaker.is_open
    for number in range(200):
        assert play.engine.lookup(f"later-{number}", key(0)) is LookupStatus.MISS
    play.engine.submit_store(7, "r", [key(5)], [5])
    assert not play.results()[0].success
    assert play.counted("lookup_misses", "breaker") == 200
    assert play.counted("store_drops", "breaker") == 1
    eventually(lambda: play.counted("breaker_trips") == 1, "the trip to be counted")
    sick.hanging = set()
    sick.well.set()
    eventually(lambda: not play.engine.parts.breaker.is_open, "the breaker to close", every_s=0.01)
    eventually(lambda: play.ask(0, play.another()) is LookupStatus.HIT, "an answer in time")


def test_jobs_that_wait_for_sick_storage_end_when_it_is_given_up(bench: Callable[..., Bench], sick: SickStore) -> None:
    play = bench(lookup_deadline_s=0.2, store_deadline_s=60.0)
    sick.hanging = {"contains", "put", "is_healthy"}
    play.engine.submit_store(1, "r", [key(0)], [0])
    for number, request in enumerate(("first", "second")):
        assert play.ask(number, request) is LookupStatus.MISS
    play.engine.end_step()
    (result,) = play.results()
    assert not result.success


def test_storage_that_was_never_opened_is_not_tried_in_some_other_folder(tmp_path: Path) -> None:
    facts = make_facts()
    assert not BlockStore(tmp_path, facts, make_spec(facts), "auto").is_healthy()


def test_a_trial_leaves_nothing_behind(bench: Callable[..., Bench], sick: SickStore) -> None:
    play = bench()
    assert play.store_rows([0]).success
    before = sorted(sick._root.rglob("*"))
    assert sick.is_healthy()
    assert sorted(sick._root.rglob("*")) == before


def test_errors_that_are_not_about_a_block_open_the_breaker(bench: Callable[..., Bench], sick: SickStore) -> None:
    play = bench()
    play.store_rows([0, 1])
    sick.failing = {key(0): errno.ESTALE, key(1): errno.ESTALE}
    sick.gone = True
    play.engine.submit_load(1, "r", [key(0), key(1)], [8, 9])
    assert not play.results()[0].success
    eventually(lambda: play.engine.parts.breaker.is_open, "the breaker to open", every_s=0.01)
    assert play.counted("load_failures", "estale") >= 1
    sick.failing, sick.gone = {}, False
    eventually(lambda: not play.engine.parts.breaker.is_open, "the breaker to close", every_s=0.01)
    assert play.ask(0, "later") is LookupStatus.MISS  # known to have failed a moment ago


def test_errors_of_a_few_files_take_no_others_with_them(bench: Callable[..., Bench], sick: SickStore) -> None:
    """A prefix that was evicted on NFS: ESTALE for each of its blocks, and everything else is well."""
    play = bench()
    play.store_rows(range(8))
    sick.failing = {key(number): errno.ESTALE for number in (0, 1)}
    play.engine.submit_load(1, "r", [key(number) for number in range(8)], list(range(8, 16)))
    assert set(play.results()[0].succeeded) == {key(number) for number in range(2, 8)}
    # By themselves: above, a good block may have been read between the two.
    play.engine.submit_load(2, "s", [key(0), key(1)], [8, 9])
    assert not play.results()[0].success
    eventually(lambda: sick.checked > 0, "storage to be looked at", every_s=0.01)
    assert not play.engine.parts.breaker.is_open
    assert play.ask(2, "later") is LookupStatus.HIT


def test_refused_writing_pauses_and_reading_goes_on(bench: Callable[..., Bench], sick: SickStore) -> None:
    play = bench()
    play.store_rows([0])
    sick.refuses = "enospc"
    assert not play.store_rows([1], job=2).success
    assert play.engine.parts.backoff.is_paused
    assert not play.store_rows([2], job=3).success
    assert play.counted("store_drops", "paused") == 1
    assert play.counted("write_pauses", "enospc") == 1
    play.engine.submit_load(4, "r", [key(0)], [8])
    assert play.results()[0].success
    assert play.memory.chunk(8) == content(1)


def test_writing_resumes_by_itself(
    bench: Callable[..., Bench], sick: SickStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also on an engine that has nothing to store just then."""
    monkeypatch.setattr(background_module, "MAINTENANCE_EVERY_S", 0.01)
    play = bench()
    play.engine.parts.backoff._first_pause_s = 0.05
    sick.refuses = "enospc"
    play.store_rows([1], job=2)
    time.sleep(0.2)
    assert play.engine.parts.backoff.is_paused
    sick.refuses = ""
    eventually(lambda: not play.engine.parts.backoff.is_paused, "writing to go on", every_s=0.01)
    assert play.store_rows([9], job=3).success
    assert list(Path(sick.folder).rglob("*.tmp")) == []


def test_writing_is_tried_again_while_blocks_are_read_all_the_time(
    bench: Callable[..., Bench], sick: SickStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forty seconds went by without a trial while six thousand blocks waited to be marked as used."""
    monkeypatch.setattr(background_module, "MAINTENANCE_EVERY_S", 0.01)
    monkeypatch.setattr("llmd_storage_connector.health.write_backoff.FIRST_PAUSE_S", 0.05)
    play = bench()
    play.store_rows([0])
    sick.refuses = "enospc"
    assert not play.store_rows([1], job=2).success
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            for number in range(200):
                play.engine._background._refreshes.add(number.to_bytes(36, "big"))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    sick.refuses = ""
    try:
        eventually(lambda: not play.engine.parts.backoff.is_paused, "writing to go on", every_s=0.01)
    finally:
        over.set()
        reader.join()


def test_a_load_that_nobody_could_begin_with_is_given_up_too(bench: Callable[..., Bench], sick: SickStore) -> None:
    play = bench(io_threads=1)
    play.store_rows([0, 1])
    play.engine.step_done(1000, 2.0)
    sick.hanging.add("open_block")
    play.engine.submit_load(1, "first", [key(0)], [8])
    play.engine.submit_load(2, "second", [key(1)], [9])
    assert [result.success for result in play.results(2)] == [False, False]


def test_loads_that_computing_beats_are_given_up_and_later_ones_are_not_begun(
    bench: Callable[..., Bench], sick: SickStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost_model, "EPISODE_S", 0.0)
    play = bench()
    play.store_rows([0, 1, 2, 3])
    play.engine.step_done(1000, 2.0)  # a block of 64 tokens takes 128 ms
    sick.hanging.add("read")
    for bad in range(cost_model.STRIKES):
        assert play.ask(0, f"before {bad}") is LookupStatus.HIT, "that one was slow says nothing of what is there"
        play.engine.submit_load(bad, f"{bad}", [key(bad)], [8 + bad])
        assert not play.results()[0].success
    assert play.counted("load_failures", "slow") == cost_model.STRIKES
    assert play.ask(0, "later") is LookupStatus.MISS
    assert play.counted("lookup_misses", "slower") == 1


@pytest.mark.parametrize("io_threads", [4, 1], ids=["by several threads", "by one"])
def test_what_came_of_a_load_that_is_given_up_is_kept(
    bench: Callable[..., Bench], sick: SickStore, monkeypatch: pytest.MonkeyPatch, io_threads: int
) -> None:
    monkeypatch.setattr(cost_model, "SHORTEST_S", 3.0)  # time for two reads on a busy machine
    play = bench(io_threads=io_threads)
    play.store_rows([0, 1, 2, 3])
    play.engine.step_done(1000, 2.0)
    assert [play.ask(n) for n in range(4)] == [LookupStatus.HIT] * 4
    sick.stuck.update((key(2), key(3)))
    play.engine.submit_load(1, "r", [key(n) for n in range(4)], [8, 9, 10, 11])
    result = play.results()[0]
    assert set(result.succeeded) == {key(0), key(1)} and result.cancel_reason == "slow"
    assert play.ask(2, "r") is LookupStatus.MISS
    assert play.ask(2, "another") is LookupStatus.HIT


def test_a_patient_request_waits_also_where_computing_would_be_quicker(
    bench: Callable[..., Bench], sick: SickStore
) -> None:
    play = bench(load_deadline_s=1.0)
    play.store_rows([0])
    play.engine.step_done(1000, 0.001)
    for bad in range(2 * cost_model.STRIKES):
        play.engine.parts.cost.load_cancelled(play.engine.parts.clock() + 2.0 * bad)
    assert play.ask(0, "impatient") is LookupStatus.MISS
    play.engine.be_patient("patient")
    assert play.ask(0, "patient") is LookupStatus.HIT
    sick.hanging.add("read")
    play.engine.submit_load(1, "patient", [key(0)], [8])
    assert play.results()[0].cancel_reason == "deadline"


def test_a_late_read_of_one_stripe_keeps_the_whole_block_out(bench: Callable[..., Bench], sick: SickStore) -> None:
    """Half a block must not be reported, and its file must not stay open."""
    play = bench(load_deadline_s=0.2)
    play.store_rows([0])
    sick.hanging.add("read")
    play.engine.submit_load(1, "r", [key(0)], [8])
    assert not play.results()[0].success
    sick.well.set()
    sick.hanging.clear()
    eventually(lambda: not open_blocks(sick), "every file to be closed", every_s=0.01)


def open_blocks(store: SickStore) -> list[str]:
    found = []
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
    return [path for path in found if path.startswith(store.folder) and path.endswith(".kvb")]


def test_what_was_stored_and_what_was_found_gone_is_told(bench: Callable[..., Bench], sick: SickStore) -> None:
    play = bench()
    play.store_rows([0, 1])
    Path(sick.path(key(1))).unlink()
    play.engine.submit_load(1, "r", [key(0), key(1)], [8, 9])
    play.results()
    assert sorted(play.engine.take_events()) == [(key(0), False), (key(1), False), (key(1), True)]
    assert play.engine.take_events() == []


def test_storage_that_comes_later_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim that was full, or not mounted yet, when the engine started."""
    monkeypatch.setattr(background_module, "REOPEN_S", 0.05)
    play = Bench(SickStore(tmp_path / "mount" / "root", best_path()))
    assert play.engine.wait_open(CEILING_S) is Phase.UNUSABLE
    assert not play.store_rows([0]).success
    (tmp_path / "mount").mkdir()
    eventually(lambda: play.engine.phase is Phase.READY, "storage to be used", every_s=0.01)
    assert play.store_rows([0], job=2).success
    assert play.ask(0, "later") is LookupStatus.HIT
    assert play.engine.close(5) == 0


def test_while_the_weights_are_read_requests_do_not_wait(bench: Callable[..., Bench], sick: SickStore,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """A checkpoint on slow storage takes minutes; as soon as it is known, and not a pause later, the cache is used."""
    monkeypatch.setattr(background_module, "REOPEN_S", FOR_EVER_S)
    real, known = sick.open, threading.Event()

    def opening() -> None:
        if not known.wait(0.01):
            raise Pending("1.0 of 2.0 GiB")
        real()

    monkeypatch.setattr(sick, "open", opening)
    play = bench()
    assert play.engine.wait_open(CEILING_S) is Phase.UNUSABLE
    assert "1.0 of 2.0 GiB" in str(play.engine.fault)
    assert play.engine.lookup("r", key(0)) is LookupStatus.MISS
    known.set()
    eventually(lambda: play.engine.phase is Phase.READY, "storage to be used", every_s=0.01)
    assert play.store_rows([0], job=2).success


def nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What these tests grant stays: an engine that looked would learn that there is no evictor."""
    monkeypatch.setattr(budget_client, "EVERY_S", FOR_EVER_S)
    monkeypatch.setattr(budget_client, "URGENT_EVERY_S", FOR_EVER_S)


def test_the_evictors_limit_holds_from_the_first_block_on(
    bench: Callable[..., Bench], sick: SickStore, tmp_path: Path
) -> None:
    state = tmp_path / "root" / STATE
    (state / WRITERS).mkdir(parents=True)
    room = {"version": 1, "room": {"newcomer": 2 * sick.spec.file_bytes, "limits": {}}}
    (state / ROOM).write_text(json.dumps(room))
    play = bench(store_deadline_s=5.0)
    assert play.engine.wait_open(CEILING_S) is Phase.READY  # on a busy machine that alone takes seconds
    assert len(play.store_rows([0, 1, 2, 3]).succeeded) == 2


def test_where_room_is_short_one_prefix_is_stored_whole(
    bench: Callable[..., Bench], sick: SickStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two halves would be of no use to anyone."""
    nobody_looks(monkeypatch)
    play = bench(store_deadline_s=CEILING_S)
    assert play.store_rows([8]).success
    play.engine.parts.budget.reported(FOR_EVER_S)
    play.engine.parts.budget.update(sick.spec.file_bytes)
    for job, numbers, within_s in ((1, range(4), CEILING_S), (2, range(4, 8), 1.5)):
        play.from_now_on(store_deadline_s=within_s)
        play.engine.submit_store(job, "r", [key(number) for number in numbers], list(numbers))
    play.engine.parts.budget.update(5 * sick.spec.file_bytes)
    play.engine.parts.scheduler.wake()
    assert {one.job_id: len(one.succeeded) for one in play.results(2)} == {1: 4, 2: 0}


def test_stores_without_room_wait_and_then_end_while_loads_go_on(
    bench: Callable[..., Bench], sick: SickStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache at its budget is no sick storage: nothing is given up but the blocks that found no room."""
    nobody_looks(monkeypatch)
    play = bench(store_deadline_s=CEILING_S)
    assert play.store_rows([0]).success
    play.engine.parts.budget.reported(FOR_EVER_S)
    play.engine.parts.budget.update(sick.spec.file_bytes)
    play.from_now_on(store_deadline_s=0.2)
    assert not play.store_rows([1, 2], job=1).succeeded
    play.from_now_on(store_deadline_s=CEILING_S)
    play.engine.submit_load(2, "r", [key(0)], [8])
    assert play.results()[0].success
    play.engine.submit_store(3, "r", [key(3)], [3])
    play.engine.parts.budget.update(4 * sick.spec.file_bytes)
    play.engine.parts.scheduler.wake()
    assert play.results()[0].success
    assert play.counted("store_failures", "no_budget") == 2
    assert play.counted("deadline_misses", "store") == 0 and not play.engine.parts.breaker.is_open


def test_a_retired_engine_uses_storage_for_nothing(bench: Callable[..., Bench], sick: SickStore) -> None:
    """Its weights were changed: whatever is under way was looked up or computed for others."""
    play = bench()
    play.store_rows([0, 1])
    sick.hanging.add("read")
    play.engine.submit_load(1, "r", [key(0)], [8])
    play.engine.retire(Unusable("weights"))
    assert not play.results()[0].success
    assert play.ask(0, "later") is LookupStatus.MISS
    assert not play.store_rows([2], job=2).success
    assert play.counted("store_drops", "unusable") == 1
    assert play.engine.gauges()["usable", ""] == 0
    assert str(play.engine.fault) == "weights"
    sick.well.set()
    assert play.engine.close(5) == 0


@pytest.mark.parametrize(("given", "working"), [(None, 32), (4, 4), (48, 48)])
def test_as_many_threads_work_as_the_operator_said(tmp_path: Path, given: int | None, working: int) -> None:
    store = SickStore(tmp_path / "root", best_path())
    play = Bench(store, io_threads=given)
    assert play.engine.wait_open(CEILING_S) is Phase.READY
    assert play.engine.parts.scheduler.queue.threads == working
    assert play.engine.close(5) == 0


def test_what_was_stored_is_noted_for_its_pages_to_be_given_back(
    bench: Callable[..., Bench], sick: SickStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Mount, "keeps_written", True)
    play, noted = bench(), list[str]()
    monkeypatch.setattr(play.engine.parts.written, "add", noted.append)
    play.store_rows([0, 1])
    play.store_rows([1, 2], job=200)
    assert sorted(noted) == sorted(sick.path(key(number)) for number in range(3))


def test_gauges_say_how_things_are_now(bench: Callable[..., Bench], sick: SickStore) -> None:
    play = bench()
    play.engine.wait_open(CEILING_S)
    expected = {"usable": 1, "breaker_open": 0, "writes_paused": 0, "budget_exhausted": 0, "queued_bytes": 0}
    assert play.engine.gauges() == {(name, ""): value for name, value in expected.items()} | {
        ("publish_strategy", "link"): 1,
        ("data_path", sick.data_path.name): 1,
    }
    sick.refuses = "enospc"
    play.store_rows([0])
    play.engine.parts.breaker.missed("lookup")
    play.engine.parts.breaker.missed("lookup")
    assert play.engine.gauges()["writes_paused", ""] == 1
    assert play.engine.gauges()["breaker_open", ""] == 1
    play.engine.close(5)
    assert play.engine.gauges()["usable", ""] == 0

"""A user would lose: a block that two threads move, or none; a thread that sleeps while there is work."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmd_storage_connector.blocks import layout
from llmd_storage_connector.blocks.buffer import BlockBuffer
from llmd_storage_connector.blocks.crew import Crew, Order
from llmd_storage_connector.blocks.data_path import DataPath
from llmd_storage_connector.blocks.files import READ
from llmd_storage_connector.blocks.folders import Folder
from llmd_storage_connector.blocks.format import BlockSpec
from llmd_storage_connector.blocks.gate import Gate
from llmd_storage_connector.blocks.mount_probe import Mount
from llmd_storage_connector.blocks.native import best_path
from llmd_storage_connector.blocks.run import Run
from tests.patience import CEILING_S, eventually
from tests.unit.connector.conftest import PATHS, address_of

SPEC = BlockSpec(bytes(32), 4096, 1, 4096)
MOUNT = Mount(owners=frozenset({os.geteuid()}), group=os.getegid(), read_flags=READ)
pytestmark = pytest.mark.timeout(CEILING_S)


@pytest.fixture(params=PATHS)
def path(request: pytest.FixtureRequest) -> DataPath:
    return PATHS[request.param]()


@pytest.fixture
def crew(path: DataPath) -> Crew:
    crew = path.new_crew()
    crew.limit(1)
    return crew


def for_python(token: int, gate: Gate, blocks: int = 1, *, is_store: bool = False) -> Order:
    return Order(token, gate, is_store, blocks)


def test_an_order_is_taken_block_by_block_and_told_when_it_is_over(path: DataPath, crew: Crew) -> None:
    crew.add([for_python(5, path.new_gate(), 3)])
    crew.close()
    buffer = BlockBuffer(SPEC)
    assert [crew.work(buffer, is_done=True) for _ in range(4)] == [(5, 0), (5, 1), (5, 2), None]
    assert crew.wait() == [5]


def test_behind_a_block_that_failed_nothing_of_its_order_is_taken(path: DataPath, crew: Crew) -> None:
    crew.add([for_python(5, path.new_gate(), 3), for_python(6, path.new_gate())])
    crew.close()
    buffer = BlockBuffer(SPEC)
    assert crew.work(buffer) == (5, 0)
    assert crew.work(buffer, is_done=False) == (6, 0)
    assert crew.work(buffer, is_done=True) is None
    assert crew.wait() == [5, 6]


def test_loads_take_turns_and_stores_do_not(path: DataPath, crew: Crew) -> None:
    gates = [path.new_gate() for _ in range(4)]
    orders = [for_python(token, gate, 2, is_store=token > 2) for token, gate in enumerate(gates, 1)]
    crew.add(orders)
    crew.close()
    buffer, had = BlockBuffer(SPEC), []
    while one := crew.work(buffer, is_done=True):
        had.append(one[0])
    assert had == [1, 2, 1, 2, 3, 3, 4, 4]


def test_no_more_than_may_store_at_once(path: DataPath, crew: Crew) -> None:
    crew.add([for_python(1, path.new_gate(), 5, is_store=True), for_python(2, path.new_gate())])
    crew.limit(2)
    buffers, had = [BlockBuffer(SPEC) for _ in range(4)], list[tuple[int, int] | None]()

    def work(buffer: BlockBuffer) -> None:
        had.append(crew.work(buffer))

    threads = [threading.Thread(target=work, args=(buffer,), daemon=True) for buffer in buffers]
    for thread in threads:
        thread.start()
    eventually(lambda: len(had) == 3, "three to have one", every_s=0.001)
    time.sleep(0.05)
    assert sorted(one[0] for one in had if one) == [1, 1, 2], "the fourth waits, as two store"
    crew.limit(3)
    eventually(lambda: len(had) == 4, "the fourth to have one", every_s=0.001)


def test_news_are_heard_once_and_low_orders_are_news(path: DataPath, crew: Crew) -> None:
    heard = list[list[int]]()
    listener = threading.Thread(target=lambda: heard.extend(crew.wait() for _ in range(3)), daemon=True)
    listener.start()
    crew.tell()
    eventually(lambda: len(heard) == 1, "the news", every_s=0.001)
    crew.add([for_python(1, path.new_gate(), 4)], low=2)
    buffer = BlockBuffer(SPEC)
    crew.work(buffer)
    time.sleep(0.02)
    assert len(heard) == 1
    crew.work(buffer, is_done=True)
    eventually(lambda: len(heard) == 2, "that two are left", every_s=0.001)
    threading.Thread(target=lambda: crew.work(buffer, is_done=False), daemon=True).start()  # it waits for more
    eventually(lambda: len(heard) == 3, "that it is over", every_s=0.001)
    assert heard == [[], [], [1]]


def test_a_gate_knows_when_the_first_thread_began(path: DataPath, crew: Crew) -> None:
    gate = path.new_gate()
    assert gate.began is None
    crew.add([for_python(1, gate, 2)])
    crew.close()
    buffer = BlockBuffer(SPEC)
    crew.work(buffer)
    began = gate.began
    assert began is not None
    crew.work(buffer, is_done=True)
    assert gate.began == began


# ---- without Python ------------------------------------------------------------------------------------------


class Gang:
    """Threads that work for a native crew; what comes back to Python is failed, or said to be done."""

    def __init__(self, path: DataPath, count: int, spec: BlockSpec, says_done: bool = False) -> None:
        self._spec = spec
        self.crew = path.new_crew()
        self.crew.limit(count)
        self.back: list[tuple[int, int]] = []
        self.over: list[int] = []
        self._says_done = says_done
        self._ends = threading.Event()
        self._threads = [threading.Thread(target=self._work) for _ in range(count)]
        self._leader = threading.Thread(target=self._lead)
        for thread in (*self._threads, self._leader):
            thread.start()

    def _work(self) -> None:
        buffer, is_done = BlockBuffer(self._spec), False
        while one := self.crew.work(buffer, is_done=is_done):
            self.back.append(one)
            is_done = self._says_done

    def _lead(self) -> None:
        while not self._ends.is_set():
            self.over += self.crew.wait()

    def end(self) -> None:
        self._ends.set()
        self.crew.close()
        for thread in (*self._threads, self._leader):
            thread.join(CEILING_S)
            assert not thread.is_alive()


@contextlib.contextmanager
def gang_of(path: DataPath, count: int, *, spec: BlockSpec = SPEC, says_done: bool = False) -> Iterator[Gang]:
    gang = Gang(path, count, spec, says_done)
    try:
        yield gang
    finally:
        gang.end()


def key_of(number: int) -> bytes:
    return number.to_bytes(36, "big")


def payload_of(number: int, spec: BlockSpec = SPEC) -> bytes:
    return random.Random(number).randbytes(spec.payload_bytes)


def run_of(
    path: DataPath, folder: Path, memory: bytearray, numbers: range, strategy: str = "", spec: BlockSpec = SPEC
) -> Run:
    begin, opened = address_of(memory), Folder(str(folder))
    blocks = [(key_of(number), begin + number * spec.payload_bytes) for number in numbers]
    mount = dataclasses.replace(MOUNT, publish_strategy=strategy)
    return Run(spec, mount, blocks, [opened] * len(blocks), path.new_gate(), (ctypes.c_int64 * len(blocks))())


ORDERS, EACH = 40, 16


def test_many_threads_move_each_block_once_and_byte_for_byte(tmp_path: Path) -> None:
    path, count = best_path(), ORDERS * EACH
    memory = bytearray(b"".join(map(payload_of, range(count))))
    back = bytearray(len(memory))
    with gang_of(path, 8) as gang:
        for source, strategy, first in ((memory, "rename", 1), (back, "", 1001)):
            runs = [run_of(path, tmp_path, source, range(at, at + EACH), strategy) for at in range(0, count, EACH)]
            for at in range(0, ORDERS, 5):
                some = list(enumerate(runs, first))[at : at + 5]
                gang.crew.add([Order(token, run.gate, bool(strategy), EACH, run) for token, run in some])
            eventually(lambda: len(gang.over) == ORDERS, "all to be over", every_s=0.001)
            assert sorted(gang.over) == list(range(first, first + ORDERS)) and gang.back == []
            assert all(all(run.times) for run in runs)
            gang.over.clear()
    assert back == memory
    assert len(list(tmp_path.iterdir())) == count


@pytest.mark.parametrize("says_done", [False, True], ids=["that fails", "that Python moves"])
def test_a_block_that_is_not_there_goes_to_python_and_stops_its_own_order_alone(
    tmp_path: Path, says_done: bool
) -> None:
    path = best_path()
    memory = bytearray(b"".join(map(payload_of, range(3 * EACH))))
    with gang_of(path, 4, says_done=says_done) as gang:
        gang.crew.add(
            [Order(1, (run := run_of(path, tmp_path, memory, range(3 * EACH), "link")).gate, True, 3 * EACH, run)]
        )
        eventually(lambda: gang.over == [1], "all to be stored", every_s=0.001)
        gang.over.clear()
        gone = EACH + 5
        (tmp_path / layout.block_name(key_of(gone))).unlink()
        back = bytearray(len(memory))
        runs = [run_of(path, tmp_path, back, range(at, at + EACH)) for at in (0, EACH, 2 * EACH)]
        gang.crew.add([Order(token, run.gate, False, EACH, run) for token, run in enumerate(runs, 1)])
        eventually(lambda: sorted(gang.over) == [1, 2, 3], "all to be over", every_s=0.001)
    assert gang.back == [(2, 5)]
    assert all(runs[0].times) and all(runs[2].times)
    moved = [bool(time) for time in runs[1].times]
    assert all(moved[:5]) and not moved[5]
    assert all(moved[6:]) if says_done else not all(moved[6:])


def test_orders_of_a_job_that_nobody_waits_for_are_over_and_touch_nothing(tmp_path: Path) -> None:
    path = best_path()
    memory = bytearray(b"".join(map(payload_of, range(EACH))))
    run = run_of(path, tmp_path, memory, range(EACH), "link")
    run.gate.close()
    with gang_of(path, 4) as gang:
        gang.crew.add([Order(1, run.gate, True, EACH, run)])
        eventually(lambda: gang.over == [1], "it to be over", every_s=0.001)
    assert gang.back == [] and not any(run.times) and list(tmp_path.iterdir()) == []


# ---- a block in parts ----------------------------------------------------------------------------------------

LARGE, COUNT = BlockSpec(bytes(32), 5 * 4096 - 100, 1, 4096), 6


@pytest.fixture
def stored(tmp_path: Path) -> bytes:
    """What COUNT large blocks have, which are there."""
    path = best_path()
    memory = bytearray(b"".join(payload_of(number, LARGE) for number in range(COUNT)))
    with gang_of(path, 1, spec=LARGE) as gang:
        run = run_of(path, tmp_path, memory, range(COUNT), "link", LARGE)
        gang.crew.add([Order(1, run.gate, True, COUNT, run)])
        eventually(lambda: gang.over == [1], "all to be stored", every_s=0.001)
    return bytes(memory)


def read_in_parts(folder: Path, parts: int, *, says_done: bool = False) -> tuple[Gang, Run, bytearray]:
    path, memory = best_path(), bytearray(COUNT * LARGE.payload_bytes)
    run = run_of(path, folder, memory, range(COUNT), spec=LARGE)
    with gang_of(path, 4, spec=LARGE, says_done=says_done) as gang:
        gang.crew.add([Order(9, run.gate, False, COUNT, run, parts)])
        eventually(lambda: gang.over == [9], "it to be over", every_s=0.001)
    return gang, run, memory


@pytest.mark.parametrize("parts", [1, 2, 3, 5])
def test_threads_that_read_a_block_together_have_all_of_it(tmp_path: Path, stored: bytes, parts: int) -> None:
    gang, run, memory = read_in_parts(tmp_path, parts)
    assert memory == stored and all(run.times) and gang.back == []
    assert run.gate.copied == len(stored)


@pytest.mark.parametrize("parts", [2, 5])
@pytest.mark.parametrize("at", [10, 300, 4096 + 5, -1], ids=["header", "checksums", "first stripe", "last stripe"])
def test_a_block_that_is_wrong_in_any_part_is_refused_once_and_no_other(
    tmp_path: Path, stored: bytes, parts: int, at: int
) -> None:
    file = tmp_path / layout.block_name(key_of(2))
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)
    gang, run, memory = read_in_parts(tmp_path, parts, says_done=True)
    assert gang.back == [(9, 2)]
    assert [bool(time) for time in run.times] == [True, True, False, True, True, True]
    size = LARGE.payload_bytes
    assert memory[: 2 * size] == stored[: 2 * size] and memory[3 * size :] == stored[3 * size :]


@pytest.mark.parametrize("harm", ["gone", "short", "another block"])
def test_a_block_of_which_a_part_cannot_be_read_goes_to_python_once(tmp_path: Path, stored: bytes, harm: str) -> None:
    file = tmp_path / layout.block_name(key_of(COUNT - 1))
    data = file.read_bytes()
    file.unlink()
    if harm == "short":
        file.write_bytes(data[:-1])
    elif harm == "another block":
        os.link(tmp_path / layout.block_name(key_of(0)), file)
    gang, run, _ = read_in_parts(tmp_path, 3)
    assert gang.back == [(9, COUNT - 1)] and not run.times[COUNT - 1] and all(run.times[: COUNT - 1])


def test_more_parts_than_there_are_stripes_for_are_refused(tmp_path: Path, stored: bytes) -> None:
    """TaskRunner.parts_of makes none such: three parts of two stripes each have all five."""
    gang, run, _ = read_in_parts(tmp_path, 4, says_done=True)
    assert sorted(gang.back) == [(9, number) for number in range(COUNT)] and not any(run.times)


def test_parts_of_which_nobody_wants_to_know_touch_nothing(tmp_path: Path, stored: bytes) -> None:
    path, memory = best_path(), bytearray(COUNT * LARGE.payload_bytes)
    run = run_of(path, tmp_path, memory, range(COUNT), spec=LARGE)
    run.gate.close()
    with gang_of(path, 4, spec=LARGE) as gang:
        gang.crew.add([Order(9, run.gate, False, COUNT, run, 5)])
        eventually(lambda: gang.over == [9], "it to be over", every_s=0.001)
    assert memory == bytes(len(memory)) and not any(run.times) and gang.back == []

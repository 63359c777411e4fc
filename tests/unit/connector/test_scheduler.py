"""Who may move what: how many threads a backlog of stores is worth."""

from __future__ import annotations

import time
import types
from collections.abc import Callable
from typing import Any, cast

import pytest

from llmd_storage_connector.blocks.gate import LockedGate
from llmd_storage_connector.blocks.result import LOADED, BlockResult
from llmd_storage_connector.engine.background import useful_writers
from llmd_storage_connector.eviction.write_budget import WriteBudget
from llmd_storage_connector.transfer.foreman import Foreman
from llmd_storage_connector.transfer.queue import TaskQueue
from llmd_storage_connector.transfer.scheduler import Phase, TransferScheduler
from llmd_storage_connector.transfer.tasks import Completion, Direction, Job
from tests.unit.connector.conftest import Clock

MIB = 1 << 20
THREADS = 8
pytestmark = pytest.mark.timeout(30)


def a_scheduler(chunk_bytes: int = MIB, clock: Callable[[], float] = time.monotonic) -> TransferScheduler:
    """Ready, for THREADS threads, and with room for all that is stored."""
    budget = WriteBudget()
    budget.update(None)
    queue, nothing = TaskQueue(chunk_bytes, 1 << 40, THREADS), lambda: None
    scheduler = TransferScheduler(
        queue, chunk_bytes=chunk_bytes, file_bytes=chunk_bytes, budget=budget, clock=clock, tell=nothing
    )
    scheduler.enter(Phase.READY)
    return scheduler


def submitted(scheduler: TransferScheduler, direction: Direction, blocks: int, number: int = 1) -> Job:
    keys = [f"{number}-{index}".encode() for index in range(blocks)]
    job = Job(number, direction, "r", keys, 0.0, float("inf"), LockedGate())
    scheduler.submit(job, [(key, chunk) for chunk, key in enumerate(keys)])
    return job


@pytest.mark.parametrize(
    ("chunk_bytes", "blocks", "writers"),
    [
        pytest.param(MIB, 4, 1, id="a trickle"),
        pytest.param(MIB, 16, 3, id="many blocks"),
        pytest.param(32 * MIB, 1, 1, id="one large block"),
        pytest.param(32 * MIB, 2, 2, id="two large blocks"),
        pytest.param(MIB, 200, THREADS - THREADS // 4, id="a backlog, with the last quarter kept for loads"),
    ],
)
def test_stores_take_as_many_threads_as_their_backlog_is_worth(chunk_bytes: int, blocks: int, writers: int) -> None:
    scheduler = a_scheduler(chunk_bytes)
    submitted(scheduler, Direction.STORE, blocks)
    assert scheduler.queue.writers == writers


@pytest.mark.parametrize("direction", Direction)
def test_what_no_thread_came_to_is_next_in_its_job_again(direction: Direction) -> None:
    scheduler = a_scheduler()
    job = submitted(scheduler, direction, 20 * THREADS)
    before = list(job.pending)
    task, *_ = handed_out = scheduler.hand_out()
    count = sum(len(one.blocks) for one in handed_out)
    results = {task.blocks[0][0]: LOADED, task.blocks[1][0]: BlockResult(False, "eio")}
    scheduler.ended([Completion(task, results, task.blocks[2:])])
    assert (job.left, list(job.pending)) == (len(before) - 2, [*task.blocks[2:], *before[count:]])
    if direction is Direction.STORE:
        assert scheduler.queue.queued_bytes == job.left * MIB


def test_what_is_handed_out_is_bounded_and_of_both_kinds() -> None:
    """Behind a hole all of it is read in vain; and another job is not to wait for it."""
    scheduler = a_scheduler()
    kinds = (Direction.LOAD, Direction.STORE, Direction.LOAD)
    jobs = [submitted(scheduler, direction, 1000, number) for number, direction in enumerate(kinds)]
    tasks = scheduler.hand_out()
    for job in jobs:
        blocks = [block for task in tasks if task.job is job for block in task.blocks]
        assert len(blocks) == 128
    assert scheduler.hand_out() == []
    scheduler.ended([Completion(task, dict.fromkeys((key for key, _ in task.blocks), LOADED)) for task in tasks])
    assert sum(len(task.blocks) for task in scheduler.hand_out()) == 3 * 128


@pytest.mark.parametrize(
    ("setting", "value", "blocks", "writers"),
    [
        pytest.param("max_writers", 2, 200, 2, id="no more than can use the interpreter"),
        pytest.param("blocks_per_writer", 1, 5, 5, id="one for every block, where storage is what is waited for"),
    ],
)
def test_stores_take_as_many_threads_as_the_storage_is_worth(
    setting: str, value: int, blocks: int, writers: int
) -> None:
    scheduler = a_scheduler()
    scheduler.queue.limit(**{setting: value})
    submitted(scheduler, Direction.STORE, blocks)
    assert scheduler.queue.writers == writers


@pytest.mark.parametrize(
    ("create_remove_s", "block_bytes", "writers"),
    [
        pytest.param(10e-6, 4 << 10, 1, id="a tiny file in memory: all of it is Python"),
        pytest.param(80e-6, 64 << 10, 7, id="a small one on a local disk: most of it is the kernel's"),
        pytest.param(80e-6, 2 * MIB, 101, id="a large one: nearly all is"),
        pytest.param(1e-3, 64 << 10, 53, id="a small one on a server nearby: most of it is waiting"),
        pytest.param(0.0, 1, 1, id="nothing"),
    ],
)
def test_writers_are_as_many_as_have_something_to_wait_for(
    create_remove_s: float, block_bytes: int, writers: int
) -> None:
    assert useful_writers(create_remove_s, block_bytes) == writers


def test_a_growing_backlog_gets_more_threads() -> None:
    scheduler = a_scheduler()
    submitted(scheduler, Direction.STORE, 4)
    assert scheduler.queue.writers == 1
    submitted(scheduler, Direction.STORE, 40, number=2)
    assert scheduler.queue.writers == 6


def test_a_cancelled_job_ends_when_the_last_copy_into_its_rows_is_over() -> None:
    """Its rows are given away then: not before, and without anyone waiting for it."""
    scheduler = a_scheduler()
    job = Job(1, Direction.LOAD, "r", [b"key"], 0.0, float("inf"), LockedGate())
    scheduler.submit(job, [(b"key", 0)])
    assert job.gate.enter()
    scheduler.cancel([job], "deadline")
    assert scheduler.finished() == []
    assert not job.gate.enter()
    job.gate.leave(MIB)
    (ended,) = scheduler.finished()
    assert ended.cancel_reason == "deadline"


def test_progress_is_what_was_copied_through_the_gates() -> None:
    clock = Clock()
    scheduler = a_scheduler(clock=clock)
    keys = [b"a", b"b"]
    jobs = [Job(number, Direction.LOAD, "r", keys, clock.now, float("inf"), LockedGate()) for number in (1, 2)]
    for job in jobs:
        scheduler.submit(job, [(key, 0) for key in keys])
    assert [load.part for load in scheduler.progress()] == [0.0, 0.0]
    clock.now += 2
    jobs[0].gate.enter()
    jobs[0].gate.leave(MIB)
    first, second = scheduler.progress()
    assert (first.part, first.first_part, first.first_seconds, first.others_progress) == (0.5, 0.5, 2.0, False)
    assert (second.part, second.others_progress) == (0.0, True)
    clock.now += 1
    jobs[0].gate.enter()
    jobs[0].gate.leave(MIB)
    first = scheduler.progress()[0]
    assert (first.part, first.first_part, first.first_seconds, first.seconds) == (1.0, 0.5, 2.0, 3.0)
    scheduler.cancel([jobs[0]], "slow")
    assert scheduler.progress()[0].others_progress, "what ended counts still"


def test_a_foreman_who_fails_at_everything_does_not_take_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a pause he would begin again at once, for ever, beside the thread that schedules."""
    scheduler, pauses = a_scheduler(), list[float]()

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            scheduler.enter(Phase.CLOSED)

    monkeypatch.setattr(time, "sleep", pause)
    crew = types.SimpleNamespace(wait=lambda: 1 / 0)
    Foreman(cast(Any, crew), scheduler, cast(Any, None), lambda direction, results: None).lead()
    assert len(pauses) == 3 and min(pauses) > 0

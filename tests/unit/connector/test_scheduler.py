"""Who may move what: how many threads a backlog of stores is worth."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from llmd_storage_connector.blocks.gate import LockedGate
from llmd_storage_connector.blocks.result import LOADED, BlockResult
from llmd_storage_connector.engine.background import useful_writers
from llmd_storage_connector.eviction.write_budget import WriteBudget
from llmd_storage_connector.transfer.scheduler import Phase, TransferScheduler
from llmd_storage_connector.transfer.tasks import Completion, Direction, Job, Task
from tests.patience import CEILING_S
from tests.unit.connector.conftest import Clock

MIB = 1 << 20
THREADS = 8
pytestmark = pytest.mark.timeout(30)


class Crowd:
    """A ledger, and threads that take one piece each and keep it."""

    def __init__(self, chunk_bytes: int) -> None:
        budget = WriteBudget()
        budget.update(None)
        self.scheduler = TransferScheduler(
            chunk_bytes=chunk_bytes,
            file_bytes=chunk_bytes,
            store_queue_bytes=1 << 40,
            threads=THREADS,
            budget=budget,
            clock=time.monotonic,
        )
        self.scheduler.enter(Phase.READY)
        self.tasks: list[Task] = []
        self._threads = [threading.Thread(target=self._take, daemon=True) for _ in range(2 * THREADS)]
        for thread in self._threads:
            thread.start()

    def _take(self) -> None:
        task = self.scheduler.next_task(None)
        if task is not None:
            self.tasks.append(task)

    def submit(self, direction: Direction, blocks: int, number: int = 1) -> None:
        keys = [f"{number}-{index}".encode() for index in range(blocks)]
        job = Job(number, direction, "r", keys, 0.0, float("inf"), LockedGate())
        self.scheduler.submit(job, [(key, chunk) for chunk, key in enumerate(keys)])

    def taken(self, direction: Direction, expected: int) -> int:
        """How many pieces of a kind were taken, once as many as expected are, and no more come."""
        limit = time.monotonic() + 10
        while (count := self._count(direction)) < expected and time.monotonic() < limit:
            time.sleep(0.001)
        time.sleep(0.05)
        return max(count, self._count(direction))

    def _count(self, direction: Direction) -> int:
        return sum(task.job.direction is direction for task in self.tasks)

    def end(self) -> None:
        self.scheduler.enter(Phase.CLOSED)
        for thread in self._threads:
            thread.join(CEILING_S)


@pytest.fixture
def crowd_of() -> Iterator[Callable[[int], Crowd]]:
    """crowd_of(bytes of a chunk); ended with the test."""
    made: list[Crowd] = []

    def make(chunk_bytes: int) -> Crowd:
        made.append(Crowd(chunk_bytes))
        return made[-1]

    yield make
    for crowd in made:
        crowd.end()


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
def test_stores_take_as_many_threads_as_their_backlog_is_worth(
    crowd_of: Callable[[int], Crowd], chunk_bytes: int, blocks: int, writers: int
) -> None:
    crowd = crowd_of(chunk_bytes)
    crowd.submit(Direction.STORE, blocks)
    assert crowd.taken(Direction.STORE, writers) == writers


@pytest.mark.parametrize("direction", Direction)
def test_what_a_thread_did_not_come_to_is_next_in_its_job_again(
    crowd_of: Callable[[int], Crowd], direction: Direction
) -> None:
    scheduler = crowd_of(MIB).scheduler
    scheduler.enter(Phase.OPENING)  # the crowd takes nothing
    queue, job = scheduler.queue, Job(1, direction, "r", [], 0.0, float("inf"), LockedGate())
    blocks = [(str(number).encode(), number) for number in range(20 * THREADS)]
    scheduler.submit(job, blocks)
    first, second = queue.pop(lambda: True), queue.pop(lambda: True)
    assert first is not None and second is not None and len(first.blocks) > 2
    scheduler._end_task(Completion(first, (LOADED, BlockResult(False, "eio"))))
    assert (job.left, [block for block in job.pending]) == (
        len(blocks) - 2,
        [*first.blocks[2:], *blocks[len(first.blocks) + len(second.blocks) :]],
    )
    if direction is Direction.STORE:
        assert queue.queued_bytes == job.left * MIB
    again = queue.pop(lambda: True)
    assert again is not None and again.blocks[: len(first.blocks) - 2] == first.blocks[2:]


@pytest.mark.parametrize(
    ("setting", "value", "blocks", "writers"),
    [
        pytest.param("max_writers", 2, 200, 2, id="no more than can use the interpreter"),
        pytest.param("blocks_per_writer", 1, 5, 5, id="one for every block, where storage is what is waited for"),
    ],
)
def test_stores_take_as_many_threads_as_the_storage_is_worth(
    crowd_of: Callable[[int], Crowd], setting: str, value: int, blocks: int, writers: int
) -> None:
    crowd = crowd_of(MIB)
    crowd.scheduler.queue.limit(**{setting: value})
    crowd.submit(Direction.STORE, blocks)
    assert crowd.taken(Direction.STORE, writers) == writers


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


def test_a_growing_backlog_gets_more_threads(crowd_of: Callable[[int], Crowd]) -> None:
    crowd = crowd_of(MIB)
    crowd.submit(Direction.STORE, 4)
    assert crowd.taken(Direction.STORE, 1) == 1
    crowd.submit(Direction.STORE, 40, number=2)
    assert crowd.taken(Direction.STORE, 6) == 6


def test_loads_get_every_thread_that_stores_left(crowd_of: Callable[[int], Crowd]) -> None:
    crowd = crowd_of(MIB)
    crowd.submit(Direction.STORE, 4)
    assert crowd.taken(Direction.STORE, 1) == 1
    crowd.submit(Direction.LOAD, 20, number=2)
    assert crowd.taken(Direction.LOAD, THREADS - 1) == THREADS - 1


def test_a_cancelled_job_ends_when_the_last_copy_into_its_rows_is_over() -> None:
    """Its rows are given away then: not before, and without anyone waiting for it."""
    budget = WriteBudget()
    scheduler = TransferScheduler(
        chunk_bytes=MIB, file_bytes=MIB, store_queue_bytes=MIB, threads=1, budget=budget, clock=time.monotonic
    )
    scheduler.enter(Phase.READY)
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
    scheduler = TransferScheduler(
        chunk_bytes=MIB, file_bytes=MIB, store_queue_bytes=MIB, threads=2, budget=WriteBudget(), clock=clock
    )
    scheduler.enter(Phase.READY)
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

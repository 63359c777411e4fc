"""Who may move what: how many threads a backlog of stores is worth."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from llmd_storage_connector.engine.engine import writers_with_work
from llmd_storage_connector.transfer.scheduler import Ledger, Phase
from llmd_storage_connector.transfer.tasks import Job, Kind, Piece
from tests.patience import CEILING_S

MIB = 1 << 20
THREADS = 8
pytestmark = pytest.mark.timeout(30)


class Crowd:
    """A ledger, and threads that take one piece each and keep it."""

    def __init__(self, row_bytes: int) -> None:
        self.ledger = Ledger(
            row_bytes=row_bytes,
            store_queue_bytes=1 << 40,
            threads=THREADS,
            clock=time.monotonic,
            on_end=lambda job: None,
            may_store=lambda: True,
        )
        self.ledger.enter(Phase.READY)
        self.pieces: list[Piece] = []
        self._threads = [threading.Thread(target=self._take, daemon=True) for _ in range(2 * THREADS)]
        for thread in self._threads:
            thread.start()

    def _take(self) -> None:
        piece = self.ledger.take(None)
        if piece is not None:
            self.pieces.append(piece)

    def submit(self, kind: Kind, blocks: int, number: int = 1) -> None:
        keys = [f"{number}-{index}".encode() for index in range(blocks)]
        job = Job(number, kind, "r", keys, 0.0, float("inf"))
        self.ledger.submit(job, [(key, row) for row, key in enumerate(keys)])

    def taken(self, kind: Kind, expected: int) -> int:
        """How many pieces of a kind were taken, once as many as expected are, and no more come."""
        limit = time.monotonic() + 10
        while (count := self._count(kind)) < expected and time.monotonic() < limit:
            time.sleep(0.001)
        time.sleep(0.05)
        return max(count, self._count(kind))

    def _count(self, kind: Kind) -> int:
        return sum(piece.job.kind is kind for piece in self.pieces)

    def end(self) -> None:
        self.ledger.enter(Phase.CLOSED)
        for thread in self._threads:
            thread.join(CEILING_S)


@pytest.fixture
def crowds() -> Iterator[list[Crowd]]:
    made: list[Crowd] = []
    yield made
    for crowd in made:
        crowd.end()


@pytest.mark.parametrize(
    ("row_bytes", "blocks", "writers"),
    [
        pytest.param(MIB, 4, 1, id="a trickle"),
        pytest.param(MIB, 16, 3, id="many blocks"),
        pytest.param(32 * MIB, 1, 1, id="one large block"),
        pytest.param(32 * MIB, 2, 2, id="two large blocks"),
        pytest.param(MIB, 200, THREADS - THREADS // 4, id="a backlog, with the last quarter kept for loads"),
    ],
)
def test_stores_take_as_many_threads_as_their_backlog_is_worth(
    crowds: list[Crowd], row_bytes: int, blocks: int, writers: int
) -> None:
    crowd = Crowd(row_bytes)
    crowds.append(crowd)
    crowd.submit(Kind.STORE, blocks)
    assert crowd.taken(Kind.STORE, writers) == writers


@pytest.mark.parametrize(
    ("setting", "value", "blocks", "writers"),
    [
        pytest.param("most_writers", 2, 200, 2, id="no more than can use the interpreter"),
        pytest.param("blocks_a_writer", 1, 5, 5, id="one for every block, where storage is what is waited for"),
    ],
)
def test_stores_take_as_many_threads_as_the_storage_is_worth(
    crowds: list[Crowd], setting: str, value: int, blocks: int, writers: int
) -> None:
    crowd = Crowd(MIB)
    crowds.append(crowd)
    setattr(crowd.ledger, setting, value)
    crowd.submit(Kind.STORE, blocks)
    assert crowd.taken(Kind.STORE, writers) == writers


@pytest.mark.parametrize(
    ("come_and_go_s", "block_bytes", "writers"),
    [
        pytest.param(80e-6, 64 << 10, 1, id="a small file on a local disk: all of it is Python"),
        pytest.param(80e-6, 2 * MIB, 13, id="a large one: most of it is the kernel's"),
        pytest.param(1e-3, 64 << 10, 7, id="a small one on a server nearby: most of it is waiting"),
        pytest.param(0.0, 1, 1, id="nothing"),
    ],
)
def test_writers_are_as_many_as_have_something_to_wait_for(
    come_and_go_s: float, block_bytes: int, writers: int
) -> None:
    assert writers_with_work(come_and_go_s, block_bytes) == writers


def test_a_growing_backlog_gets_more_threads(crowds: list[Crowd]) -> None:
    crowd = Crowd(MIB)
    crowds.append(crowd)
    crowd.submit(Kind.STORE, 4)
    assert crowd.taken(Kind.STORE, 1) == 1
    crowd.submit(Kind.STORE, 40, number=2)
    assert crowd.taken(Kind.STORE, 6) == 6


def test_loads_get_every_thread_that_stores_left(crowds: list[Crowd]) -> None:
    crowd = Crowd(MIB)
    crowds.append(crowd)
    crowd.submit(Kind.STORE, 4)
    assert crowd.taken(Kind.STORE, 1) == 1
    crowd.submit(Kind.LOAD, 20, number=2)
    assert crowd.taken(Kind.LOAD, THREADS - 1) == THREADS - 1

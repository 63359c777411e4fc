# SPDX-License-Identifier: Apache-2.0
"""All jobs of an engine, under one lock: queueing, taking turns, deadlines, and the one report of each.

    field                                | owner | guarded by
    _jobs, _stripes, _loads, _stores     | any   | _lock
    threads                              | any   | _lock
    most_writers, blocks_a_writer        | any   | _lock
    _moving, _writing                    | any   | _lock
    queued_bytes, _copied                | any   | _lock
    _results, phase                      | any   | _lock
    every field of a Job                 | any   | _lock

Blocks that were begun go first, then loads, then stores; several loads take turns block by block, stores go one after
the other and never take all threads.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from enum import Enum

from llmd_storage_connector.transfer.tasks import Done, Fetch, Job, Kind, Piece, Result, State

Block = tuple[bytes, int]
# So much that waits to be stored is one more thread's work. Nobody waits for a store, but every thread that works takes
# the interpreter from the engine's own now and then.
_BLOCKS_A_WRITER = 8
_BYTES_A_WRITER = 16 << 20


class Phase(Enum):
    """Whether blocks may be moved."""

    OPENING = "opening"
    READY = "ready"
    UNUSABLE = "unusable"
    CLOSED = "closed"


class Ledger:
    """See the module's head.

    threads: how many may move something at once; a quarter of them is always free for loads, and stores take no more
    than their backlog is worth. most_writers: how many may store at once, however long the backlog; 0: no such limit.
    blocks_a_writer: how many that wait are worth one more thread.
    on_end(job) is called, under the lock, before a job can be seen as ended. may_store() is asked, under the lock,
    before a block is handed out to be stored; once it says no, wake() has to follow when that changes.
    """

    def __init__(
        self,
        *,
        row_bytes: int,
        store_queue_bytes: int,
        threads: int,
        clock: Callable[[], float],
        on_end: Callable[[Job], None],
        may_store: Callable[[], bool] = lambda: True,
    ) -> None:
        self._row_bytes = row_bytes
        self._store_queue_bytes = store_queue_bytes
        self.threads = threads
        self.most_writers = 0
        self.blocks_a_writer = _BLOCKS_A_WRITER
        self._clock = clock
        self._on_end = on_end
        self._may_store = may_store
        self._jobs: dict[int, Job] = {}
        self._stripes: deque[Piece] = deque()
        self._loads: deque[Job] = deque()
        self._stores: deque[Job] = deque()
        self._moving = 0
        self._writing = 0
        self._copied = 0
        self._results: deque[Result] = deque()
        self.queued_bytes = 0
        self.phase = Phase.OPENING
        self._lock = threading.RLock()
        # Threads that want work wait for the one, all others for the other: waking one of them is enough.
        self._work = threading.Condition(self._lock)
        self._changed = threading.Condition(self._lock)

    @property
    def refuses(self) -> bool:
        """Whether new work is pointless."""
        return self.phase in (Phase.UNUSABLE, Phase.CLOSED)

    def enter(self, phase: Phase) -> None:
        """Begin a phase; a closed ledger stays closed."""
        with self._lock:
            if self.phase is not Phase.CLOSED:
                self.phase = phase
            if self.refuses:
                self.expire(float("inf"))
            self._changed.notify_all()
            self._work.notify_all()

    def wait_phase(self, timeout_s: float) -> Phase:
        """The phase after opening, or OPENING at the timeout."""
        with self._lock:
            self._changed.wait_for(lambda: self.phase is not Phase.OPENING, timeout_s)
            return self.phase

    def wake(self) -> None:
        """What may_store() refused may be granted now."""
        with self._lock:
            if self._stores:
                self._work.notify_all()

    def submit(self, job: Job, blocks: list[Block]) -> int:
        """Queue the job's blocks. Returns: how many of the last ones were refused, which fails them now."""
        with self._lock:
            offered = len(blocks)
            if self.refuses:
                blocks = []
            elif job.kind is Kind.STORE:
                room = max(0, self._store_queue_bytes - self.queued_bytes) // self._row_bytes
                blocks = blocks[:room]
                self.queued_bytes += len(blocks) * self._row_bytes
            job.todo.extend(blocks)
            job.left = len(blocks)
            job.others_bytes = self._copied
            if blocks:
                self._jobs[job.job_id] = job
                self._queue_of(job).append(job)
                self._work.notify(len(blocks) if job.kind is Kind.LOAD else self._idle_writers())
            else:
                self._finish(job)
            return offered - len(blocks)

    def take(self, done: Done | None) -> Piece | None:
        """Note what became of the thread's last piece; the next one, waiting for it. None: there will be no more."""
        with self._lock:
            if done is not None:
                self._end_piece(done)
            while self.phase is not Phase.CLOSED:
                if self.phase is Phase.READY and self._moving < self.threads:
                    piece = self._next()
                    if piece is not None:
                        self._moving += 1
                        if piece.job.kind is Kind.LOAD and self._stores and self._idle_writers():
                            self._work.notify()  # this thread may have been the one that stored
                        return piece
                self._work.wait()
            # What was begun has files open: they are closed by the threads, never by whoever closes the ledger.
            if not self._stripes:
                return None
            self._moving += 1
            return self._stripes.popleft()

    def _next(self) -> Piece | None:
        if self._stripes:
            return self._stripes.popleft()
        if self._loads:
            return self._next_block(self._loads)
        if self._stores and self._idle_writers() and self._may_store():
            self._writing += 1
            return self._next_block(self._stores)
        return None

    def _idle_writers(self) -> int:
        """How many more threads may write: what waits is worth so many, and some are kept for loads."""
        waiting = self.queued_bytes // self._row_bytes
        worth = 1 + max(waiting // self.blocks_a_writer, self.queued_bytes // _BYTES_A_WRITER)
        most = max(1, self.threads - self.threads // 4)
        return max(0, min(worth, most, self.most_writers or most) - self._writing)

    def _end_piece(self, done: Done) -> None:
        job = done.piece.job
        self._moving -= 1
        if job.kind is Kind.STORE:
            self._writing -= 1
        if done.outcome is not None and job.state is State.LIVE:
            job.left -= 1
            job.outcomes[done.piece.key] = done.outcome
            if job.kind is Kind.STORE:
                self.queued_bytes -= self._row_bytes
        if done.copied_bytes is not None:
            self.end_copy(job, done.copied_bytes)
        if job.state is State.LIVE and job.left == 0:
            self._finish(job)

    def unfold(self, first: Piece, fetch: Fetch, stripes: int) -> None:
        """A block was opened by the thread that will read its first stripe: the others may be read as well."""
        with self._lock:
            rest = (replace(first, fetch=fetch, index=at) for at in range(1, stripes))
            self._stripes.extend(rest)
            self._work.notify(stripes - 1)

    def _next_block(self, queue: deque[Job]) -> Piece:
        """One block of the first job. Loads then go to the end of their queue: requests wait for them. Stores do not:
        a prefix without a block in its middle is of no use, so that one is stored whole before the next is begun.
        """
        job = queue.popleft()
        key, row = job.todo.popleft()
        if job.todo and job.kind is Kind.LOAD:
            queue.append(job)
        elif job.todo:
            queue.appendleft(job)
        if job.began is None:
            job.began, job.others_bytes = self._clock(), self._copied
        return Piece(job, key, row, alone=sum(len(other.todo) for other in queue) >= self.threads)

    def loads_under_way(self) -> list[tuple[Job, float, float, bool]]:
        """Loads: the job, seconds since it was begun, part that is there (0 to 1), whether others got bytes since.

        For one that no thread has begun with, all this counts from its submission.
        """
        with self._lock:
            now = self._clock()
            return [
                (
                    job,
                    now - (job.submitted if job.began is None else job.began),
                    job.copied_bytes / (len(job.keys) * self._row_bytes),
                    self._copied > job.others_bytes + job.copied_bytes,
                )
                for job in self._jobs.values()
                if job.kind is Kind.LOAD and job.state is State.LIVE
            ]

    def begin_copy(self, job: Job) -> bool:
        """Whether the job's rows may be touched until end_copy."""
        with self._lock:
            if job.state is not State.LIVE:
                return False
            job.copying += 1
            return True

    def end_copy(self, job: Job, copied_bytes: int) -> None:
        """The rows are not touched any more by this thread."""
        with self._lock:
            job.copying -= 1
            if job.kind is Kind.LOAD:
                job.copied_bytes += copied_bytes
                self._copied += copied_bytes
            if job.state is State.EXPIRED and job.copying == 0:
                self._finish(job)

    def expire(self, now: float) -> list[tuple[Job, int]]:
        """Give up jobs past their deadline. Returns: those, each with its number of unsettled blocks."""
        with self._lock:
            return self.give_up([job for job in self._jobs.values() if job.deadline <= now])

    def give_up(self, jobs: list[Job]) -> list[tuple[Job, int]]:
        """End these before their time. Returns: those that had not ended, with their number of unsettled blocks."""
        with self._lock:
            late = [job for job in jobs if job.state is State.LIVE]
            for job in late:
                job.state = State.EXPIRED
            given_up = [(job, job.left) for job in late]
            for job in late:
                if job.copying == 0:
                    self._finish(job)
            return given_up

    def results(self) -> list[Result]:
        """Jobs that ended since the last call."""
        with self._lock:
            results, self._results = list(self._results), deque()
            return results

    def wait_empty(self, timeout_s: float, while_waiting: Callable[[], None]) -> bool:
        """Whether all jobs end within the time."""
        limit = time.monotonic() + timeout_s
        with self._lock:
            while self._jobs and time.monotonic() < limit:
                self._changed.wait(0.05)
                while_waiting()
            return not self._jobs

    def end_all(self) -> list[tuple[Job, int]]:
        """Give up every job. Ensures: on return no row is touched; blocks for the copies then running."""
        with self._lock:
            given_up = self.expire(float("inf"))
            self._changed.wait_for(lambda: not self._jobs)
            return given_up

    def _queue_of(self, job: Job) -> deque[Job]:
        return self._loads if job.kind is Kind.LOAD else self._stores

    def _finish(self, job: Job) -> None:
        """Report the job, once. Requires: the lock is held, no copy of the job is running."""
        if job.state is State.DONE:
            return
        job.state = State.DONE
        if job.kind is Kind.STORE:
            self.queued_bytes -= job.left * self._row_bytes
        if job.todo:
            job.todo.clear()
            self._queue_of(job).remove(job)
        self._on_end(job)
        self._jobs.pop(job.job_id, None)
        self._results.append(job.result(self._clock(), self._row_bytes))
        self._changed.notify_all()

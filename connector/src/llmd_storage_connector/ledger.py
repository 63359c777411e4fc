# SPDX-License-Identifier: Apache-2.0
"""All jobs of an engine, under one lock: queueing, taking turns, deadlines, and the one report of each.

    field                          | owner | guarded by
    _jobs, _loads, _stores         | any   | changed
    _writing, _queued_bytes        | any   | changed
    _results, phase                | any   | changed
    every field of a Job           | any   | changed

Loads go before stores and several loads take turns block by block; stores never take all threads.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from enum import Enum

from llmd_storage_connector.jobs import Job, Kind, Result, State

Block = tuple[bytes, int]


class Phase(Enum):
    """Whether blocks may be moved."""

    OPENING = "opening"
    READY = "ready"
    UNUSABLE = "unusable"
    CLOSED = "closed"


class Ledger:
    """See the module's head.

    on_end(job, failed keys) is called, under the lock, before a job that failed in part can be seen as ended.
    """

    def __init__(
        self,
        *,
        row_bytes: int,
        store_queue_bytes: int,
        max_writing: int,
        clock: Callable[[], float],
        on_end: Callable[[Job, tuple[bytes, ...]], None],
    ) -> None:
        self._row_bytes = row_bytes
        self._store_queue_bytes = store_queue_bytes
        self._max_writing = max_writing
        self._clock = clock
        self._on_end = on_end
        self._jobs: dict[int, Job] = {}
        self._loads: deque[Job] = deque()
        self._stores: deque[Job] = deque()
        self._writing = 0
        self._queued_bytes = 0
        self._results: deque[Result] = deque()
        self.phase = Phase.OPENING
        self.changed = threading.Condition()

    @property
    def refuses(self) -> bool:
        """Whether new work is pointless."""
        return self.phase in (Phase.UNUSABLE, Phase.CLOSED)

    def enter(self, phase: Phase) -> None:
        """Begin a phase; a closed ledger stays closed."""
        with self.changed:
            if self.phase is not Phase.CLOSED:
                self.phase = phase
            if self.refuses:
                self.expire(float("inf"))
            self.changed.notify_all()

    def wait_phase(self, timeout_s: float) -> Phase:
        """The phase after opening, or OPENING at the timeout."""
        with self.changed:
            self.changed.wait_for(lambda: self.phase is not Phase.OPENING, timeout_s)
            return self.phase

    def submit(self, job: Job, blocks: list[Block]) -> int:
        """Queue the job's blocks. Returns: how many of the last ones were refused, which fails them now."""
        with self.changed:
            offered = len(blocks)
            if self.refuses:
                blocks = []
            elif job.kind is Kind.STORE:
                room = max(0, self._store_queue_bytes - self._queued_bytes) // self._row_bytes
                blocks = blocks[:room]
                self._queued_bytes += len(blocks) * self._row_bytes
            job.todo.extend(blocks)
            job.left = len(blocks)
            if blocks:
                self._jobs[job.job_id] = job
                self._queue_of(job).append(job)
                self.changed.notify_all()
            else:
                self._finish(job)
            return offered - len(blocks)

    def take(self) -> tuple[Job, bytes, int] | None:
        """The next block to move; waits for one. None: there will be no more."""
        with self.changed:
            while not self.refuses:
                if self.phase is Phase.READY:
                    if self._loads:
                        return self._next_block(self._loads)
                    if self._stores and self._writing < self._max_writing:
                        self._writing += 1
                        return self._next_block(self._stores)
                self.changed.wait()
            return None

    def give_back(self, job: Job) -> None:
        """The thread that took a block of this job is free again."""
        if job.kind is Kind.STORE:
            with self.changed:
                self._writing -= 1

    @staticmethod
    def _next_block(queue: deque[Job]) -> tuple[Job, bytes, int]:
        """One block of the first job, which then goes to the end of its queue."""
        job = queue.popleft()
        key, row = job.todo.popleft()
        if job.todo:
            queue.append(job)
        return job, key, row

    def begin_copy(self, job: Job) -> bool:
        """Whether the job's rows may be touched until end_copy."""
        with self.changed:
            if job.state is not State.LIVE:
                return False
            job.copying += 1
            return True

    def end_copy(self, job: Job) -> None:
        """The rows are not touched any more by this thread."""
        with self.changed:
            job.copying -= 1
            if job.state is State.EXPIRED and job.copying == 0:
                self._finish(job)

    def settle(self, job: Job, key: bytes, *, ok: bool, moved_bytes: int) -> bool:
        """One block of the job is over, well or not. Returns: False when the job was given up before."""
        with self.changed:
            if job.state is not State.LIVE:
                return False
            job.left -= 1
            if job.kind is Kind.STORE:
                self._queued_bytes -= self._row_bytes
            if ok:
                job.succeeded.append(key)
                job.moved_bytes += moved_bytes
            if job.left == 0:
                self._finish(job)
            return True

    def expire(self, now: float) -> list[tuple[Job, int]]:
        """Give up jobs past their deadline. Returns: those, each with its number of unsettled blocks."""
        with self.changed:
            late = [job for job in self._jobs.values() if job.deadline <= now and job.state is State.LIVE]
            for job in late:
                job.state = State.EXPIRED
            given_up = [(job, job.left) for job in late]
            for job in late:
                if job.copying == 0:
                    self._finish(job)
            return given_up

    def results(self) -> list[Result]:
        """Jobs that ended since the last call."""
        with self.changed:
            results, self._results = list(self._results), deque()
            return results

    def wait_empty(self, timeout_s: float, while_waiting: Callable[[], None]) -> bool:
        """Whether all jobs end within the time."""
        limit = time.monotonic() + timeout_s
        with self.changed:
            while self._jobs and time.monotonic() < limit:
                self.changed.wait(0.05)
                while_waiting()
            return not self._jobs

    def end_all(self) -> list[tuple[Job, int]]:
        """Give up every job. Ensures: on return no row is touched; blocks for the copies then running."""
        with self.changed:
            given_up = self.expire(float("inf"))
            self.changed.wait_for(lambda: not self._jobs)
            return given_up

    def _queue_of(self, job: Job) -> deque[Job]:
        return self._loads if job.kind is Kind.LOAD else self._stores

    def _finish(self, job: Job) -> None:
        """Report the job, once. Requires: the lock is held, no copy of the job is running."""
        if job.state is State.DONE:
            return
        job.state = State.DONE
        if job.kind is Kind.STORE:
            self._queued_bytes -= job.left * self._row_bytes
        if job.todo:
            job.todo.clear()
            self._queue_of(job).remove(job)
        result = job.result(self._clock())
        self._on_end(job, result.failed)
        self._jobs.pop(job.job_id, None)
        self._results.append(result)
        self.changed.notify_all()

# SPDX-License-Identifier: Apache-2.0
"""All jobs of an engine, under one lock: submitted, handed out in tasks, cancelled, and reported exactly once.

field                         | owner | guarded by
_jobs, _copied_before         | any   | _lock
_queue and all in it          | any   | _lock
_finished, phase              | any   | _lock
every field of a Job          | any   | _lock
a Job's gate                  | any   | itself
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum

from llmd_storage_connector.eviction.write_budget import WriteBudget
from llmd_storage_connector.transfer.queue import TaskQueue
from llmd_storage_connector.transfer.tasks import (
    Completion,
    Direction,
    FinishedJob,
    Job,
    JobState,
    LoadProgress,
    Task,
)


class Phase(Enum):
    """Whether blocks may be moved."""

    OPENING = "opening"
    READY = "ready"
    UNUSABLE = "unusable"
    CLOSED = "closed"


class TransferScheduler:
    """See the module's head. chunk_bytes: of a block in memory; file_bytes: of a block on storage.

    budget: a block is handed out to be stored only when it has been reserved there; when the budget grows, wake() has
    to follow. tell: called when there may be something to hand out; it must not wait.
    """

    def __init__(
        self,
        queue: TaskQueue,
        *,
        chunk_bytes: int,
        file_bytes: int,
        budget: WriteBudget,
        clock: Callable[[], float],
        tell: Callable[[], None],
    ) -> None:
        self._chunk_bytes = chunk_bytes
        self._file_bytes = file_bytes
        self._budget = budget
        self._clock = clock
        self._tell = tell
        self.queue = queue
        self._jobs: dict[int, Job] = {}
        self._copied_before = 0
        self._finished: deque[FinishedJob] = deque()
        self.phase = Phase.OPENING
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)

    # ---- phases ---------------------------------------------------------------------------------------

    @property
    def refuses(self) -> bool:
        """Whether new work is pointless."""
        return self.phase in (Phase.UNUSABLE, Phase.CLOSED)

    def enter(self, phase: Phase, reason: str = "") -> None:
        """Begin a phase; where nothing can be moved in it, jobs end for this reason. CLOSED is for ever."""
        with self._lock:
            if self.phase is not Phase.CLOSED:
                self.phase = phase
            if self.refuses:
                self.cancel_all(reason)
            self._changed.notify_all()
        self._tell()

    def wait_phase(self, timeout_s: float) -> Phase:
        """The phase after opening, or OPENING at the timeout."""
        with self._lock:
            self._changed.wait_for(lambda: self.phase is not Phase.OPENING, timeout_s)
            return self.phase

    # ---- jobs: in, how far, out -----------------------------------------------------------------------

    def submit(self, job: Job, blocks: list[tuple[bytes, int]]) -> int:
        """Queue the job's blocks, (key, chunk). Returns: how many of the last ones were refused, which fails them."""
        with self._lock:
            queued = self.queue.add(job, [] if self.refuses else blocks)
            job.others_bytes = self._copied
            if queued:
                self._jobs[job.job_id] = job
            else:
                self._finish(job)
        self._tell()
        return len(blocks) - queued

    def progress(self) -> list[LoadProgress]:
        """The loads under way. For one that no thread has begun with, all counts from its submission."""
        with self._lock:
            now, live = self._clock(), (job for job in self._jobs.values() if job.state is JobState.LIVE)
            loads = (job for job in live if job.direction is Direction.LOAD)
            copied = self._copied
            return [job.progress(now, self._chunk_bytes, copied) for job in loads]

    def overdue(self, now: float) -> list[Job]:
        """Jobs past their deadline."""
        with self._lock:
            return [job for job in self._jobs.values() if job.deadline <= now]

    def cancel(self, jobs: Iterable[Job], reason: str) -> list[Job]:
        """End these before their time. Returns: those that had not ended."""
        with self._lock:
            live = [job for job in jobs if job.state is JobState.LIVE]
            for job in live:
                job.state = JobState.CANCELLED
                job.cancel_reason = reason
            self._end_cancelled()
            return live

    def cancel_all(self, reason: str) -> None:
        """End every job before its time."""
        with self._lock:
            self.cancel(list(self._jobs.values()), reason)

    def finished(self) -> list[FinishedJob]:
        """Jobs that ended since the last call."""
        with self._lock:
            self._end_cancelled()
            finished, self._finished = list(self._finished), deque()
            return finished

    def wait_empty(self, timeout_s: float, while_waiting: Callable[[], None]) -> bool:
        """Whether all jobs end within the time."""
        limit = time.monotonic() + timeout_s
        with self._lock:
            while self._jobs and time.monotonic() < limit:
                self._changed.wait(0.05)
                while_waiting()
                self._end_cancelled()
            return not self._jobs

    def end_all(self, reason: str) -> None:
        """Cancel every job. Ensures: on return no chunk is touched; blocks for the copies then running."""
        with self._lock:
            self.cancel_all(reason)
            while self._jobs:
                self._changed.wait(0.001)
                self._end_cancelled()

    # ---- the threads' side ----------------------------------------------------------------------------

    def hand_out(self) -> list[Task]:
        """What threads are to do next, as much as they may have. Every task has to come back by ended()."""
        tasks = []
        with self._lock:
            while self.phase is Phase.READY and (task := self.queue.pop(self._may_store)) is not None:
                self._begin(task.job)
                tasks.append(task)
        return tasks

    def ended(self, done: Iterable[Completion]) -> None:
        """What became of tasks."""
        with self._lock:
            for one in done:
                self._end_task(one)

    def wake(self) -> None:
        """There may be budget for blocks that wait to be stored."""
        if self.queue.has_pending:
            self._tell()

    # ---- under the lock -------------------------------------------------------------------------------

    def _may_store(self) -> bool:
        return self._budget.reserve(self._file_bytes)

    def _begin(self, job: Job) -> None:
        if not job.is_begun:
            job.is_begun, job.others_bytes = True, self._copied

    def _end_task(self, done: Completion) -> None:
        job = done.task.job
        results = done.results if job.state is JobState.LIVE else {}
        self.queue.end(done.task, job.settle(results))
        if any(job.is_hole(result) for result in results.values()):
            self.queue.end_at_hole(job, done.untried)
        elif done.untried and job.state is JobState.LIVE:
            self.queue.put_back(job, done.untried)
        if job.direction is Direction.LOAD:
            job.see_copied(self._clock())
        if job.state is JobState.LIVE and job.left == 0:
            self._finish(job)
        elif job.state is JobState.CANCELLED:  # jobs are many, and this is done for each task
            self._end_cancelled()

    @property
    def _copied(self) -> int:
        """Bytes that all loads together have got."""
        loads = (job for job in self._jobs.values() if job.direction is Direction.LOAD)
        return self._copied_before + sum(job.gate.copied for job in loads)

    def _end_cancelled(self) -> None:
        """Report the cancelled jobs whose chunks nobody touches any more."""
        for job in [job for job in self._jobs.values() if job.state is JobState.CANCELLED and job.gate.close()]:
            self._finish(job)

    def _finish(self, job: Job) -> None:
        """Report the job, once. Requires: the lock is held, no copy of the job is running."""
        if job.state is JobState.DONE:
            return
        job.state = JobState.DONE
        job.gate.close()
        if job.direction is Direction.LOAD:
            self._copied_before += job.gate.copied
        self.queue.remove(job)
        self._jobs.pop(job.job_id, None)
        self._finished.append(job.finished(self._clock()))
        self._changed.notify_all()

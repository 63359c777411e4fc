# SPDX-License-Identifier: Apache-2.0
"""What is to be moved next: loads, then stores.

Pure. Every method is called under the scheduler's lock. Of every load some blocks are handed out, since requests wait
for them. Stores go one after the other and never take all threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from llmd_storage_connector.transfer.tasks import Direction, Job, Task

# So much that waits to be stored is one more thread's work. Nobody waits for a store, but every thread that works takes
# processor time from the engine's own now and then.
_BLOCKS_PER_WRITER = 8
_BYTES_PER_WRITER = 16 << 20
# A task is many blocks, which threads share: each one costs the interpreter, whatever is in it.
_TASK_BLOCKS = 64
# Of a job, that are handed out: enough for threads to go on while nobody hands out more, few enough that little is done
# in vain behind a hole.
_BLOCKS_HANDED_OUT = 2 * _TASK_BLOCKS


class TaskQueue:
    """See the module's head. chunk_bytes: of a block in memory; queue_bytes: that may wait to be stored.

    threads: how many may move something at once; a quarter of them is always free for loads, and stores take no more
    than their backlog is worth.
    max_writers: how many may store at once, however long the backlog; 0: no such limit.
    blocks_per_writer: how many that wait are worth one more thread.
    queued_bytes: that wait to be stored, or are being stored.
    """

    def __init__(self, chunk_bytes: int, queue_bytes: int, threads: int) -> None:
        self.threads = threads
        self.max_writers = 0
        self.blocks_per_writer = _BLOCKS_PER_WRITER
        self.queued_bytes = 0
        self._chunk_bytes = chunk_bytes
        self._queue_bytes = queue_bytes
        self._pending: dict[Direction, deque[Job]] = {direction: deque() for direction in Direction}
        self._loading = 0

    def limit(self, *, max_writers: int = 0, blocks_per_writer: int | None = None) -> None:
        """Set what the class says of these."""
        self.max_writers = max_writers
        self.blocks_per_writer = blocks_per_writer or self.blocks_per_writer

    def add(self, job: Job, blocks: list[tuple[bytes, int]]) -> int:
        """Queue the job's blocks, (key, chunk), as far as there is room. Returns: how many were queued."""
        if job.direction is Direction.STORE:
            room = max(0, self._queue_bytes - self.queued_bytes) // self._chunk_bytes
            blocks = blocks[:room]
            self.queued_bytes += len(blocks) * self._chunk_bytes
        job.pending.extend(blocks)
        job.left = len(blocks)
        if blocks:
            self._pending[job.direction].append(job)
        return len(blocks)

    @property
    def has_pending(self) -> bool:
        """Whether a block waits that was not handed out."""
        return any(self._pending.values())

    @property
    def writers(self) -> int:
        """How many threads may store now: what waits is worth so many, and some are kept for loads."""
        waiting = self.queued_bytes // self._chunk_bytes
        worth = 1 + max(waiting // self.blocks_per_writer, self.queued_bytes // _BYTES_PER_WRITER)
        most = max(1, self.threads - self.threads // 4)
        return min(max(1, waiting), worth, most, self.max_writers or most)

    def pop(self, may_store: Callable[[], bool]) -> Task | None:
        """The next task; None when enough is handed out. may_store: asked before a block to be stored.

        The first blocks of the first job. A load then goes to the end of its queue. A store does not: a prefix without
        a block in its middle is of no use, so that one is stored whole before the next is begun.
        """
        return self._pop_load() or self._pop_store(may_store)

    def _pop_load(self) -> Task | None:
        queue = self._pending[Direction.LOAD]
        job, room = self._first_with_room(queue)
        if job is None:
            return None
        readers = -(-self.threads // (sum(len(job.pending) for job in queue) + self._loading))
        queue.remove(job)
        task = self._task(job, room, readers)
        self._loading += len(task.blocks)
        if job.pending:
            queue.append(job)
        return task

    def _pop_store(self, may_store: Callable[[], bool]) -> Task | None:
        queue, count = self._pending[Direction.STORE], 0
        job, room = self._first_with_room(queue)
        while job and count < room and may_store():
            count += 1
        if not job or not count:
            return None
        task = self._task(job, count)
        if not job.pending:
            queue.remove(job)
        return task

    def _first_with_room(self, queue: deque[Job]) -> tuple[Job | None, int]:
        """The first job of which there may be more handed out, and how many blocks at once."""
        most = max(_BLOCKS_HANDED_OUT, 2 * self.threads)
        # Not before half of them are over: each time costs the interpreter.
        found = next((job for job in queue if job.handed_out <= most // 2), None)
        return found, min(_TASK_BLOCKS, len(found.pending), most - found.handed_out) if found else 0

    def _task(self, job: Job, count: int, readers: int = 1) -> Task:
        job.handed_out += count
        return Task(job, tuple(job.pending.popleft() for _ in range(count)), readers)

    def end(self, task: Task, settled: int) -> None:
        """A task that was popped is over. settled: so many of its blocks, while its job still waited for them."""
        task.job.handed_out -= len(task.blocks)
        if task.job.direction is Direction.LOAD:
            self._loading -= len(task.blocks)
        else:
            self.queued_bytes -= settled * self._chunk_bytes

    def remove(self, job: Job) -> None:
        """What no thread has taken of the job is not wanted any more."""
        if job.direction is Direction.STORE:
            self.queued_bytes -= job.left * self._chunk_bytes
        if job.pending:
            job.pending.clear()
            self._pending[job.direction].remove(job)

    def put_back(self, job: Job, untried: Sequence[tuple[bytes, int]]) -> None:
        """Blocks that a thread has taken and will not come to: they are next in their job again."""
        if not job.pending:
            self._pending[job.direction].appendleft(job)
        job.pending.extendleft(reversed(untried))

    def end_at_hole(self, job: Job, untried: Sequence[tuple[bytes, int]]) -> None:
        """A block of a prefix cannot be had. What no thread has taken is behind it, as blocks are taken in their order.

        untried: blocks behind it that a thread has taken, and will not come to.
        """
        job.behind_hole += tuple(key for key, _ in (*untried, *job.pending))
        job.left -= len(untried) + len(job.pending)
        self.remove(job)

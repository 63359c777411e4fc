# SPDX-License-Identifier: Apache-2.0
"""What is to be moved next: blocks that were begun, then loads, then stores.

Pure. Every method is called under the scheduler's lock. Several loads take turns run by run, since requests wait
for them. Stores go one after the other and never take all threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from llmd_storage_connector.transfer.tasks import Direction, Job, Task

# So much that waits to be stored is one more thread's work. Nobody waits for a store, but every thread that works takes
# the interpreter from the engine's own now and then.
_BLOCKS_PER_WRITER = 8
_BYTES_PER_WRITER = 16 << 20
# A thread moves several blocks before it asks for more: each time it does, it takes the interpreter. No more than this,
# so that loads take turns, and that what is left at the end is spread.
_RUN_BYTES = 16 << 20
_RUN_BLOCKS = 16


class TaskQueue:
    """See the module's head. chunk_bytes: of a block in memory; queue_bytes: that may wait to be stored.

    threads: how many may move something at once; a quarter of them is always free for loads, and stores take no more
    than their backlog is worth. max_writers: how many may store at once, however long the backlog; 0: no such limit.
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
        self._stripes: deque[Task] = deque()
        self._loads: deque[Job] = deque()
        self._stores: deque[Job] = deque()
        self._moving = 0
        self._writing = 0

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
            self._queue_of(job).append(job)
        return len(blocks)

    def add_stripes(self, stripes: Iterable[Task]) -> None:
        """More of a block that was begun."""
        self._stripes.extend(stripes)

    @property
    def has_stores(self) -> bool:
        """Whether a block waits to be stored."""
        return bool(self._stores)

    @property
    def free_writers(self) -> int:
        """How many more threads may write: what waits is worth so many, and some are kept for loads."""
        waiting = self.queued_bytes // self._chunk_bytes
        worth = 1 + max(waiting // self.blocks_per_writer, self.queued_bytes // _BYTES_PER_WRITER)
        return max(0, min(worth, self._most_writers) - self._writing)

    @property
    def _most_writers(self) -> int:
        most = max(1, self.threads - self.threads // 4)
        return min(most, self.max_writers or most)

    def pop(self, may_store: Callable[[], bool]) -> Task | None:
        """The next task, None when there is none for one more thread. may_store: asked before a block to be stored."""
        if self._moving >= self.threads:
            return None
        return self.pop_stripe() or self._pop_block(may_store)

    def pop_stripe(self) -> Task | None:
        """The next task of a block that was begun."""
        if not self._stripes:
            return None
        self._moving += 1
        return self._stripes.popleft()

    def end(self, task: Task, settled: int) -> None:
        """A task that was popped is over. settled: so many of its blocks, while its job still waited for them."""
        self._moving -= 1
        if task.job.direction is Direction.STORE:
            self._writing -= 1
            self.queued_bytes -= settled * self._chunk_bytes

    def remove(self, job: Job) -> None:
        """What no thread has taken of the job is not wanted any more."""
        if job.direction is Direction.STORE:
            self.queued_bytes -= job.left * self._chunk_bytes
        if job.pending:
            job.pending.clear()
            self._queue_of(job).remove(job)

    def put_back(self, job: Job, untried: Sequence[tuple[bytes, int]]) -> None:
        """Blocks that a thread has taken and will not come to: they are next in their job again."""
        if not job.pending:
            self._queue_of(job).appendleft(job)
        job.pending.extendleft(reversed(untried))

    def end_at_hole(self, job: Job, untried: Sequence[tuple[bytes, int]]) -> None:
        """A block of a prefix cannot be had. What no thread has taken is behind it, as blocks are taken in their order.

        untried: blocks behind it that a thread has taken, and will not come to.
        """
        job.behind_hole += tuple(key for key, _ in (*untried, *job.pending))
        job.left -= len(untried) + len(job.pending)
        self.remove(job)

    def _pop_block(self, may_store: Callable[[], bool]) -> Task | None:
        """The first blocks of the first job. A load then goes to the end of its queue. A store does not: a prefix
        without a block in its middle is of no use, so that one is stored whole before the next is begun.
        """
        if self._loads:
            queue, movers = self._loads, self.threads
        elif self._stores and self.free_writers and may_store():
            queue, movers = self._stores, self._most_writers
            self._writing += 1
        else:
            return None
        waiting = sum(len(job.pending) for job in queue)
        # Threads that have other work leave this block's stripes alone.
        readers = -(-movers // (waiting + self._moving))
        self._moving += 1
        job = queue.popleft()
        is_load = job.direction is Direction.LOAD
        blocks = [job.pending.popleft()]
        for _ in range(min(self._run_of(waiting, movers), 1 + len(job.pending)) - 1):
            if not is_load and not may_store():
                break
            blocks.append(job.pending.popleft())
        if job.pending and is_load:
            queue.append(job)
        elif job.pending:
            queue.appendleft(job)
        return Task(job, tuple(blocks), readers)

    def _run_of(self, waiting: int, movers: int) -> int:
        """How many blocks one of so many threads takes at once while so many wait: the less are left, the fewer, as
        all threads are to end together.
        """
        return max(1, min(waiting // movers, _RUN_BYTES // self._chunk_bytes, _RUN_BLOCKS))

    def _queue_of(self, job: Job) -> deque[Job]:
        return self._loads if job.direction is Direction.LOAD else self._stores

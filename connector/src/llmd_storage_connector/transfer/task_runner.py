# SPDX-License-Identifier: Apache-2.0
"""Doing one task: what an I/O thread does between taking it and saying what became of it.

What is read passes through a buffer of the thread's own: a read that hangs can never land in memory that was given
back. What is written comes straight from the chunks: a write that hangs may pick up what replaced its block, and then
does not match the checksum that was taken before.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from llmd_storage_connector.blocks.format import BlockSpec, checksum
from llmd_storage_connector.blocks.reader import BlockBuffer, BlockReader
from llmd_storage_connector.blocks.result import BlockResult, result_of
from llmd_storage_connector.blocks.store import Sink, Source
from llmd_storage_connector.errors import Cancelled, Corrupt
from llmd_storage_connector.eviction.write_budget import WriteBudget
from llmd_storage_connector.telemetry.rate_limited_log import RateLimitedLog
from llmd_storage_connector.transfer.scheduler import TransferScheduler
from llmd_storage_connector.transfer.tasks import Completion, Direction, InflightRead, Job, Task

logger = logging.getLogger("vllm.llmd_storage_connector.transfer.task_runner")


class Store(Protocol):
    """What moving blocks needs of a block store; every method may hang."""

    spec: BlockSpec

    def open_block(self, key: bytes) -> BlockReader | BlockResult: ...
    def reread(self, key: bytes, buffer: BlockBuffer, sink: Sink) -> BlockResult: ...
    def put(self, key: bytes, source: Source, confirm: Callable[[], None]) -> BlockResult: ...


class ChunkMemory(Protocol):
    """The CPU tier's memory: bytes of a chunk from an offset on. Memory only; releases the interpreter lock."""

    def view(self, chunk: int, offset: int, length: int) -> memoryview: ...
    def write(self, chunk: int, offset: int, source: memoryview) -> None: ...


class TaskRunner:
    """Moves blocks between a store and chunks.

    Thread: any; each with a buffer of its own. Chunks are touched only between the scheduler's begin_copy and
    end_copy, or by the kernel while it writes them out.
    """

    def __init__(self, store: Store, chunks: ChunkMemory, scheduler: TransferScheduler, budget: WriteBudget) -> None:
        self._store = store
        self._chunks = chunks
        self._scheduler = scheduler
        self._budget = budget
        self._log = RateLimitedLog(logger)
        self._stripe_bytes = store.spec.stripe_bytes
        self._stripes = store.spec.stripe_count

    def run(self, task: Task, buffer: BlockBuffer) -> Completion:
        """Read or write what the task stands for. Never raises. Blocks: as long as storage does."""
        try:
            return self._run(task, buffer)
        except Cancelled:
            return Completion(task)  # its job was reported: nothing is left to settle
        except Exception:
            self._log.unexpected("moving a block")
            return Completion(task, BlockResult(False, "internal"))

    def _run(self, task: Task, buffer: BlockBuffer) -> Completion:
        if task.read is not None:
            return self._read_stripes(task, task.read, range(task.stripe, task.stripe + 1), buffer)
        if task.job.direction is Direction.STORE:
            return self._write(task)
        reader = self._store.open_block(task.key)
        if isinstance(reader, BlockResult):
            return Completion(task, reader)
        if self._stripes == 1:
            return self._read_only_stripe(task, reader, buffer)
        read = InflightRead(reader, self._stripes)
        if not task.whole:
            self._scheduler.split(task, read, self._stripes)
        return self._read_stripes(task, read, range(self._stripes if task.whole else 1), buffer)

    def _write(self, task: Task) -> Completion:
        job, chunk, written = task.job, task.chunk, False
        try:
            result = self._store.put(
                task.key, lambda at, length: self._bytes_of(job, chunk, at, length), lambda: self._confirm(job)
            )
            written = result.ok and not result.already_stored
        finally:
            self._budget.settle(self._store.spec.file_bytes, written)
        return Completion(task, result)

    def _read_only_stripe(self, task: Task, reader: BlockReader, buffer: BlockBuffer) -> Completion:
        """A block that is read in one go is checked before it is copied."""
        try:
            source = reader.read(0, buffer)
            result = reader.check()
        except (OSError, Corrupt) as error:
            result = result_of(error)
        finally:
            reader.close()
        if not result.ok:
            return Completion(task, self._reread_if_corrupt(task, result, buffer))
        if not self._scheduler.begin_copy(task.job):
            return Completion(task)
        try:
            self._chunks.write(task.chunk, 0, source)
        except BaseException:
            self._scheduler.end_copy(task.job, 0)
            raise
        return Completion(task, result, copied_bytes=len(source))

    def _read_stripes(self, task: Task, read: InflightRead, stripes: range, buffer: BlockBuffer) -> Completion:
        """Read these stripes of a block into its chunk; whoever ends the last one settles the block."""
        for stripe in stripes:
            if not read.is_over:
                self._read_stripe(task, read, stripe, buffer)
            if read.end_stripe():
                result = read.close()
                return (
                    Completion(task)
                    if read.cancelled
                    else Completion(task, self._reread_if_corrupt(task, result, buffer))
                )
        return Completion(task)

    def _read_stripe(self, task: Task, read: InflightRead, stripe: int, buffer: BlockBuffer) -> None:
        try:
            source = read.reader.read(stripe, buffer)
            self._copy_in(task.job, task.chunk, stripe * self._stripe_bytes, source)
        except Cancelled:
            read.cancelled = True
        except (OSError, Corrupt) as error:
            read.fail(result_of(error))
        except Exception:
            self._log.unexpected("reading a block")
            read.fail(BlockResult(False, "internal"))

    def _reread_if_corrupt(self, task: Task, result: BlockResult, buffer: BlockBuffer) -> BlockResult:
        """A corrupt block is read once more: another node may have been writing it."""
        if not result.corrupt:
            return result
        return self._store.reread(task.key, buffer, lambda at, source: self._copy_in(task.job, task.chunk, at, source))

    def _copy_in(self, job: Job, chunk: int, offset: int, source: memoryview) -> None:
        """Buffer -> chunk. Raises: Cancelled when the chunk is no longer the job's."""
        if not self._scheduler.begin_copy(job):
            raise Cancelled
        try:
            self._chunks.write(chunk, offset, source)
        finally:
            self._scheduler.end_copy(job, len(source))

    def _confirm(self, job: Job) -> None:
        """Raises: Cancelled when the job was reported."""
        if not self._scheduler.begin_copy(job):
            raise Cancelled
        self._scheduler.end_copy(job, 0)

    def _bytes_of(self, job: Job, chunk: int, offset: int, length: int) -> tuple[memoryview, int]:
        """Bytes of a chunk, and their checksum, taken while nobody else can have the chunk. Raises: Cancelled."""
        if not self._scheduler.begin_copy(job):
            raise Cancelled
        try:
            found = self._chunks.view(chunk, offset, length)
            return found, checksum(found)
        finally:
            self._scheduler.end_copy(job, 0)

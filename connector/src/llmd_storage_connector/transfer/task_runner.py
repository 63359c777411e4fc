# SPDX-License-Identifier: Apache-2.0
"""Doing one task: what an I/O thread does between taking it and saying what became of it.

What is read passes through a buffer of the thread's own: a read that hangs can never land in memory that was given
back. What is written comes straight from the chunks: a write that hangs may pick up what replaced its block, and then
does not match the checksum that was taken before.
"""

from __future__ import annotations

import logging
from typing import Protocol

from llmd_storage_connector.blocks.buffer import BlockBuffer
from llmd_storage_connector.blocks.data_path import DataPath, Row
from llmd_storage_connector.blocks.format import BlockSpec
from llmd_storage_connector.blocks.reader import BlockReader
from llmd_storage_connector.blocks.result import BlockResult, result_of
from llmd_storage_connector.errors import Cancelled, Corrupt
from llmd_storage_connector.eviction.write_budget import WriteBudget
from llmd_storage_connector.telemetry.rate_limited_log import RateLimitedLog
from llmd_storage_connector.transfer.scheduler import TransferScheduler
from llmd_storage_connector.transfer.tasks import Completion, Direction, InflightRead, Task

logger = logging.getLogger("vllm.llmd_storage_connector.transfer.task_runner")


class Store(Protocol):
    """What moving blocks needs of a block store; every method may hang."""

    spec: BlockSpec
    data_path: DataPath

    def load(self, key: bytes, buffer: BlockBuffer, row: Row) -> BlockResult: ...
    def open_block(self, key: bytes) -> BlockReader | BlockResult: ...
    def reread(self, key: bytes, buffer: BlockBuffer, row: Row) -> BlockResult: ...
    def put(self, key: bytes, buffer: BlockBuffer, row: Row) -> BlockResult: ...


class ChunkMemory(Protocol):
    """The CPU tier's memory."""

    def address(self, chunk: int) -> int:
        """Where a chunk's bytes begin: as many as a block has, one after the other. Raises: IndexError."""
        ...


class TaskRunner:
    """Moves blocks between a store and chunks.

    Thread: any; each with a buffer of its own. Chunks are touched only inside their job's gate, or by the kernel while
    it writes them out.
    """

    def __init__(self, store: Store, chunks: ChunkMemory, scheduler: TransferScheduler, budget: WriteBudget) -> None:
        self._store = store
        self._chunks = chunks
        self._scheduler = scheduler
        self._budget = budget
        self._log = RateLimitedLog(logger)
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
        row = Row(self._chunks.address(task.chunk), task.job.gate)
        if task.read is not None:
            return self._read_stripe(task, task.read, buffer, row)
        if task.job.direction is Direction.STORE:
            return self._write(task, buffer, row)
        if task.whole or self._stripes == 1:
            return Completion(task, self._reread_if_corrupt(task, self._store.load(task.key, buffer, row), buffer, row))
        reader = self._store.open_block(task.key)
        if isinstance(reader, BlockResult):
            return Completion(task, reader)
        read = InflightRead(reader, self._stripes)
        self._scheduler.split(task, read, self._stripes)
        return self._read_stripe(task, read, buffer, row)

    def _write(self, task: Task, buffer: BlockBuffer, row: Row) -> Completion:
        written = False
        try:
            result = self._store.put(task.key, buffer, row)
            written = result.ok and not result.already_stored
        finally:
            self._budget.settle(self._store.spec.file_bytes, written)
        return Completion(task, result)

    def _read_stripe(self, task: Task, read: InflightRead, buffer: BlockBuffer, row: Row) -> Completion:
        """Read the task's stripe of a block; whoever ends the last one settles the block."""
        try:
            if not read.is_over:
                read.reader.read(task.stripe, buffer, row)
        except Cancelled:
            read.cancelled = True
        except (OSError, Corrupt) as error:
            read.fail(result_of(error))
        except Exception:
            self._log.unexpected("reading a block")
            read.fail(BlockResult(False, "internal"))
        if not read.end_stripe():
            return Completion(task)
        result = read.close()
        return (
            Completion(task) if read.cancelled else Completion(task, self._reread_if_corrupt(task, result, buffer, row))
        )

    def _reread_if_corrupt(self, task: Task, result: BlockResult, buffer: BlockBuffer, row: Row) -> BlockResult:
        """A corrupt block is read once more: another node may have been writing it."""
        return self._store.reread(task.key, buffer, row) if result.corrupt else result

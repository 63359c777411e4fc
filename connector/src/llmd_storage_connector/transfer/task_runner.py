# SPDX-License-Identifier: Apache-2.0
"""Doing one task: what an I/O thread does between taking it and saying what became of it.

What is read passes through a buffer of the thread's own: a read that hangs can never land in memory that was given
back. What is written comes straight from the chunks: a write that hangs may pick up what replaced its block, and then
does not match the checksum that was taken before.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

from llmd_storage_connector.blocks.buffer import BlockBuffer
from llmd_storage_connector.blocks.data_path import DataPath, Row, Run
from llmd_storage_connector.blocks.format import BlockSpec
from llmd_storage_connector.blocks.gate import Gate
from llmd_storage_connector.blocks.reader import BlockReader
from llmd_storage_connector.blocks.result import BlockResult, result_of
from llmd_storage_connector.errors import Cancelled, Corrupt
from llmd_storage_connector.eviction.write_budget import WriteBudget
from llmd_storage_connector.telemetry.rate_limited_log import RateLimitedLog
from llmd_storage_connector.transfer.scheduler import TransferScheduler
from llmd_storage_connector.transfer.tasks import Completion, Direction, InflightRead, Task

logger = logging.getLogger("vllm.llmd_storage_connector.transfer.task_runner")

_INTERNAL = BlockResult(False, "internal")


class _Way(NamedTuple):
    """by_run: moves as many blocks as it is good for, where there are at least `least`; single: the one after them."""

    least: int
    by_run: Callable[[Run], list[BlockResult]]
    single: Callable[[bytes, BlockBuffer, Row], BlockResult]


class Store(Protocol):
    """What moving blocks needs of a block store; every method may hang."""

    spec: BlockSpec
    data_path: DataPath

    def load(self, key: bytes, buffer: BlockBuffer, row: Row) -> BlockResult: ...
    def run(self, blocks: Sequence[tuple[bytes, int]], buffer: BlockBuffer, gate: Gate) -> Run | None: ...
    def load_run(self, run: Run) -> list[BlockResult]: ...
    def put_run(self, run: Run) -> list[BlockResult]: ...
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
            return Completion(task, (_INTERNAL,) * len(task.blocks))

    def _run(self, task: Task, buffer: BlockBuffer) -> Completion:
        if task.read is not None:
            return self._read_stripes(task, task.read, buffer)
        if task.job.direction is Direction.STORE:
            return self._write(task, buffer)
        if task.readers == 1 or self._stripes == 1:
            return self._load(task, buffer)
        return self._begin(task, buffer)

    def _row(self, task: Task) -> Row:
        """Of a task's only block."""
        return Row(self._chunks.address(task.blocks[0][1]), task.job.gate)

    def _write(self, task: Task, buffer: BlockBuffer) -> Completion:
        results: list[BlockResult] = []
        try:
            self._move(task, buffer, _Way(1, self._store.put_run, self._store.put), results)
        finally:
            size, written = self._store.spec.file_bytes, sum(one.ok and not one.already_stored for one in results)
            self._budget.settle(written * size, True)
            self._budget.settle((len(task.blocks) - written) * size, False)
        return Completion(task, tuple(results))

    def _load(self, task: Task, buffer: BlockBuffer) -> Completion:
        def load(key: bytes, buffer: BlockBuffer, row: Row) -> BlockResult:
            return self._reread_if_corrupt(key, self._store.load(key, buffer, row), buffer, row)

        results: list[BlockResult] = []
        self._move(task, buffer, _Way(2, self._store.load_run, load), results)
        return Completion(task, tuple(results))

    def _move(self, task: Task, buffer: BlockBuffer, way: _Way, results: list[BlockResult]) -> None:
        """Move a task's blocks by this thread alone, up to the first that fails. results: where theirs are noted.

        What is behind that one waits until its reason is known: storage may be given up for it, or writing paused.
        """
        job = task.job
        rows = [(key, self._chunks.address(chunk)) for key, chunk in task.blocks]
        while len(results) < len(rows):
            left = rows[len(results) :]
            if len(left) >= way.least and (run := self._store.run(left, buffer, job.gate)):
                job.runs.append(run)
                results += way.by_run(run)
            if len(results) < len(rows):
                key, address = rows[len(results)]
                results.append(way.single(key, buffer, Row(address, job.gate)))
                if not results[-1].ok:
                    return

    def _begin(self, task: Task, buffer: BlockBuffer) -> Completion:
        """Open a block that several threads are to read, and read the first part of it."""
        reader = self._store.open_block(task.blocks[0][0])
        if isinstance(reader, BlockResult):
            return Completion(task, (reader,))
        each = -(-self._stripes // min(self._stripes, task.readers))
        starts = range(0, self._stripes, each)
        read = InflightRead(reader, len(starts))
        first, *others = (replace(task, read=read, stripes=range(at, min(at + each, self._stripes))) for at in starts)
        self._scheduler.share(others)
        return self._read_stripes(first, read, buffer)

    def _read_stripes(self, task: Task, read: InflightRead, buffer: BlockBuffer) -> Completion:
        """Read the task's stripes of a block; whoever ends the last ones settles the block."""
        key, row = task.blocks[0][0], self._row(task)
        try:
            if not read.is_over:
                read.reader.read(task.stripes, buffer, row)
        except Cancelled:
            read.cancelled = True
        except (OSError, Corrupt) as error:
            read.fail(result_of(error))
        except Exception:
            self._log.unexpected("reading a block")
            read.fail(_INTERNAL)
        if not read.end_part():
            return Completion(task)
        result = read.close()
        if read.cancelled:
            return Completion(task)
        return Completion(task, (self._reread_if_corrupt(key, result, buffer, row),))

    def _reread_if_corrupt(self, key: bytes, result: BlockResult, buffer: BlockBuffer, row: Row) -> BlockResult:
        """A corrupt block is read once more: another node may have been writing it."""
        return self._store.reread(key, buffer, row) if result.corrupt else result

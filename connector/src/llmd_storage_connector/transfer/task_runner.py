# SPDX-License-Identifier: Apache-2.0
"""Moving what a task has: what a crew is given of it, and what Python does when a crew cannot.

What is read passes through a buffer of the thread's own: a read that hangs can never land in memory that was given
back. What is written comes straight from the chunks: a write that hangs may pick up what replaced its block, and then
does not match the checksum that was taken before.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from llmd_storage_connector.blocks.buffer import BlockBuffer
from llmd_storage_connector.blocks.data_path import DataPath, Row, Run
from llmd_storage_connector.blocks.format import BlockSpec
from llmd_storage_connector.blocks.gate import Gate
from llmd_storage_connector.blocks.reader import BlockReader
from llmd_storage_connector.blocks.result import STORED, BlockResult, result_of
from llmd_storage_connector.errors import Cancelled, Corrupt
from llmd_storage_connector.eviction.write_budget import WriteBudget
from llmd_storage_connector.telemetry.rate_limited_log import RateLimitedLog
from llmd_storage_connector.transfer.tasks import Direction, InflightRead, Task

logger = logging.getLogger("vllm.llmd_storage_connector.transfer.task_runner")

Share = Callable[[Sequence[Task]], None]

_INTERNAL = BlockResult(False, "internal")


class Store(Protocol):
    """What moving blocks needs of a block store; every method may hang."""

    spec: BlockSpec
    data_path: DataPath

    def run(self, blocks: Sequence[tuple[bytes, int]], gate: Gate) -> Run | None: ...
    def loaded(self, time: int) -> BlockResult: ...
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

    def __init__(self, store: Store, chunks: ChunkMemory, budget: WriteBudget) -> None:
        self._store = store
        self._chunks = chunks
        self._budget = budget
        self._log = RateLimitedLog(logger)
        self._stripes = store.spec.stripe_count

    def run_of(self, task: Task) -> Run | None:
        """The task's blocks for a crew; None where Python has to move them. Never raises, or waits."""
        if task.read is not None or self._is_for_several(task):
            return None
        try:
            rows = [(key, self._chunks.address(chunk)) for key, chunk in task.blocks]
            run = self._store.run(rows, task.job.gate)
        except Exception:
            self._log.unexpected("beginning with blocks")
            return None
        if run is not None:
            task.job.runs.append(run)
        return run

    def move(self, task: Task, index: int, buffer: BlockBuffer, share: Share) -> BlockResult | None:
        """Move the block of this index, or the stripes that are the task. Returns: what became of the block; None where
        that is not to be said yet, or to nobody any more.

        share: is given parts for other threads. Never raises. Blocks: as long as storage does.
        """
        key, chunk = task.blocks[index]
        try:
            row = Row(self._chunks.address(chunk), task.job.gate)
            if task.read is not None:
                return self._read_stripes(task, task.read, buffer, row)
            if self._is_for_several(task):
                return self._begin(task, buffer, row, share)
            if task.job.direction is Direction.STORE:
                return self._store.put(key, buffer, row)
            return self._reread_if_corrupt(key, self._store.load(key, buffer, row), buffer, row)
        except Cancelled:
            return None  # its job was reported
        except Exception:
            self._log.unexpected("moving a block")
            return _INTERNAL

    def moved(self, task: Task, run: Run | None) -> dict[bytes, BlockResult]:
        """What became of the blocks that a crew moved by itself."""
        if run is None:
            return {}
        is_store, had = task.job.direction is Direction.STORE, task.job.had
        times = ((key, time) for (key, _), time in zip(run.blocks, run.times, strict=True) if time and key not in had)
        return {key: STORED if is_store else self._store.loaded(time) for key, time in times}

    def settle_budget(self, task: Task, results: Iterable[BlockResult]) -> None:
        """Give back what was reserved for a task that is over."""
        if task.job.direction is Direction.STORE:
            size, written = self._store.spec.file_bytes, sum(one.ok and not one.already_stored for one in results)
            self._budget.settle(written * size, True)
            self._budget.settle((len(task.blocks) - written) * size, False)

    def _is_for_several(self, task: Task) -> bool:
        """Whether several threads are to read its only block."""
        return task.job.direction is Direction.LOAD and task.readers > 1 and self._stripes > 1

    def _begin(self, task: Task, buffer: BlockBuffer, row: Row, share: Share) -> BlockResult | None:
        """Open a block that several threads are to read, and read the first part of it."""
        reader = self._store.open_block(task.blocks[0][0])
        if isinstance(reader, BlockResult):
            return reader
        each = -(-self._stripes // min(self._stripes, task.readers))
        starts = range(0, self._stripes, each)
        read = InflightRead(reader, len(starts))
        first, *others = (replace(task, read=read, stripes=range(at, min(at + each, self._stripes))) for at in starts)
        share(others)
        return self._read_stripes(first, read, buffer, row)

    def _read_stripes(self, task: Task, read: InflightRead, buffer: BlockBuffer, row: Row) -> BlockResult | None:
        """Read the task's stripes of a block; whoever ends the last ones settles the block."""
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
            return None
        result = read.close()
        return None if read.cancelled else self._reread_if_corrupt(task.blocks[0][0], result, buffer, row)

    def _reread_if_corrupt(self, key: bytes, result: BlockResult, buffer: BlockBuffer, row: Row) -> BlockResult:
        """A corrupt block is read once more: another node may have been writing it."""
        return self._store.reread(key, buffer, row) if result.corrupt else result

# SPDX-License-Identifier: Apache-2.0
"""Moving what a task has: what a crew is given of it, and what Python does when a crew cannot.

What is read passes through a buffer of the thread's own: a read that hangs can never land in memory that was given
back. What is written comes straight from the chunks: a write that hangs may pick up what replaced its block, and then
does not match the checksum that was taken before.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Protocol

from llmd_storage_connector.blocks.buffer import BlockBuffer
from llmd_storage_connector.blocks.data_path import DataPath, Row
from llmd_storage_connector.blocks.format import BlockSpec
from llmd_storage_connector.blocks.gate import Gate
from llmd_storage_connector.blocks.result import STORED, BlockResult
from llmd_storage_connector.blocks.run import Run
from llmd_storage_connector.errors import Cancelled
from llmd_storage_connector.eviction.write_budget import WriteBudget
from llmd_storage_connector.telemetry.rate_limited_log import RateLimitedLog
from llmd_storage_connector.transfer.tasks import Direction, Task

logger = logging.getLogger("vllm.llmd_storage_connector.transfer.task_runner")

_INTERNAL = BlockResult(False, "internal")


class Store(Protocol):
    """What moving blocks needs of a block store; every method may hang."""

    spec: BlockSpec
    data_path: DataPath

    def run(self, blocks: Sequence[tuple[bytes, int]], gate: Gate) -> Run | None: ...
    def loaded(self, time: int) -> BlockResult: ...
    def load(self, key: bytes, buffer: BlockBuffer, row: Row) -> BlockResult: ...
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

    def run_of(self, task: Task) -> Run | None:
        """The task's blocks for a crew; None where Python has to move them. Never raises, or waits."""
        try:
            rows = [(key, self._chunks.address(chunk)) for key, chunk in task.blocks]
            run = self._store.run(rows, task.job.gate)
        except Exception:
            self._log.unexpected("beginning with blocks")
            return None
        if run is not None:
            task.job.runs.append(run)
        return run

    def parts_of(self, task: Task) -> int:
        """In how many parts each of its blocks is to be read: all of them have stripes."""
        stripes = self._store.spec.stripe_count
        return 1 if task.job.direction is Direction.STORE else -(-stripes // -(-stripes // task.readers))

    def move(self, task: Task, index: int, buffer: BlockBuffer) -> BlockResult | None:
        """Move the block of this index. Returns: what became of it; None where nobody wants to know.

        Never raises. Blocks: as long as storage does.
        """
        key, chunk = task.blocks[index]
        try:
            row = Row(self._chunks.address(chunk), task.job.gate)
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

    def _reread_if_corrupt(self, key: bytes, result: BlockResult, buffer: BlockBuffer, row: Row) -> BlockResult:
        """A corrupt block is read once more: another node may have been writing it."""
        return self._store.reread(key, buffer, row) if result.corrupt else result

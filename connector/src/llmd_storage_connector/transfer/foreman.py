# SPDX-License-Identifier: Apache-2.0
"""Between scheduler and crew: one thread hands tasks to all movers, and hears of many that are done at once.

What a mover does without Python takes the interpreter from nobody; the foreman takes it once for a round.

field    | owner | guarded by
_given   | any   | each step is one of a dict's
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Mapping, Sequence

from llmd_storage_connector.blocks.buffer import BlockBuffer
from llmd_storage_connector.blocks.crew import Crew, Order
from llmd_storage_connector.blocks.result import BlockResult
from llmd_storage_connector.blocks.run import Run
from llmd_storage_connector.telemetry.rate_limited_log import RateLimitedLog
from llmd_storage_connector.transfer.scheduler import Phase, TransferScheduler
from llmd_storage_connector.transfer.task_runner import TaskRunner
from llmd_storage_connector.transfer.tasks import Completion, Direction, Task

logger = logging.getLogger("vllm.llmd_storage_connector.transfer.foreman")

_AFTER_AN_ERROR_S = 0.1

Judge = Callable[[Direction, Mapping[bytes, BlockResult]], None]


class Foreman:
    """See the module's head. judge: hears of every result, as soon as Python has it.

    Thread: one calls lead(), the movers move(), any close().
    """

    def __init__(self, crew: Crew, scheduler: TransferScheduler, runner: TaskRunner, judge: Judge) -> None:
        self._crew = crew
        self._scheduler = scheduler
        self._runner = runner
        self._judge = judge
        self._log = RateLimitedLog(logger)
        self._tokens = itertools.count(1)
        self._given: dict[int, tuple[Task, Run | None]] = {}

    def lead(self) -> None:
        """Hand out what there is to do until the scheduler is closed. Never waits for storage."""
        while self._scheduler.phase is not Phase.CLOSED:
            try:
                self._lead_once()
            except Exception:
                self._log.unexpected("leading the threads that move blocks")
                time.sleep(_AFTER_AN_ERROR_S)  # what stays wrong must not take the engine's interpreter

    def _lead_once(self) -> None:
        if tasks := self._scheduler.hand_out():
            self._crew.limit(self._scheduler.queue.writers)
            self._give(tasks)
        elif tokens := self._crew.wait():
            self._scheduler.ended([self._completed(*self._given.pop(token)) for token in tokens])

    def move(self, new_buffer: Callable[[], BlockBuffer]) -> None:
        """Move blocks until the crew is closed. Blocks: as long as storage does."""
        buffer, is_done = new_buffer(), False
        while one := self._crew.work(buffer, is_done=is_done):
            token, index = one
            is_done = self._move(self._given[token][0], index, buffer)

    def close(self) -> None:
        """Nobody waits any more. Requires: the scheduler is closed."""
        self._crew.close()

    def _move(self, task: Task, index: int, buffer: BlockBuffer) -> bool:
        if self._scheduler.phase is Phase.CLOSED:
            return False
        result = self._runner.move(task, index, buffer)
        if result is None:
            return False
        key = task.blocks[index][0]
        task.job.had[key] = result
        self._judge(task.job.direction, {key: result})
        return result.ok

    def _give(self, tasks: Sequence[Task]) -> None:
        orders = []
        for task in tasks:
            token, job, run = next(self._tokens), task.job, self._runner.run_of(task)
            self._given[token] = task, run
            is_store, parts = job.direction is Direction.STORE, self._runner.parts_of(task)
            orders.append(Order(token, job.gate, is_store, len(task.blocks), run, parts))
        # There is more when half of it was begun.
        low = sum(order.blocks * order.parts for order in orders) // 2 if self._scheduler.queue.has_pending else -1
        self._crew.add(orders, low=low)

    def _completed(self, task: Task, run: Run | None) -> Completion:
        results, had = self._runner.moved(task, run), task.job.had
        if results:
            self._judge(task.job.direction, results)
        results |= {key: had[key] for key, _ in task.blocks if key in had}
        self._runner.settle_budget(task, results.values())
        untried = [block for block in task.blocks if block[0] not in results]
        return Completion(task, results, untried)

# SPDX-License-Identifier: Apache-2.0
"""The storage tier without vLLM: what its scheduler's thread calls. Nothing here waits for storage, or touches it.

A job is spread block by block over all I/O threads, a large block stripe by stripe (background.py).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from llmd_storage_connector.blocks.result import DEADLINE, BlockResult
from llmd_storage_connector.config import Config
from llmd_storage_connector.engine.background import UNUSABLE, Background
from llmd_storage_connector.engine.parts import Storage, assemble
from llmd_storage_connector.errors import ConnectorError
from llmd_storage_connector.lookup.service import LookupStatus
from llmd_storage_connector.telemetry.metrics import Counters
from llmd_storage_connector.telemetry.rate_limited_log import RateLimitedLog
from llmd_storage_connector.transfer.scheduler import Phase
from llmd_storage_connector.transfer.task_runner import ChunkMemory
from llmd_storage_connector.transfer.tasks import Direction, FinishedJob, Job

logger = logging.getLogger("vllm.llmd_storage_connector.engine.engine")

BREAKER = "breaker"
PAUSED = "paused"
QUEUE_FULL = "queue_full"
SLOW = "slow"
NO_BUDGET = "no_budget"
BYPASSED = "bypassed"
RECEIVED = "received"
# Between two looks at what is late. Looking at four loads takes 30 us of the scheduler's thread, and no load is given
# less than five times as long (cost_model.SHORTEST_S).
LOOK_EVERY_S = 0.05


class StorageEngine:
    """See the module's head. Constructing starts nothing: call start(). Thread: vLLM's scheduler's."""

    def __init__(
        self,
        store: Storage,
        chunks: ChunkMemory,
        config: Config,
        counters: Counters,
        *,
        needs_full_prefix: bool = False,
        tokens_per_block: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """needs_full_prefix: a block is of use only with all before it. tokens_per_block: 0 when it is not known."""
        self._config = config
        self._counters = counters
        self._clock = clock
        self._needs_full_prefix = needs_full_prefix
        self._log = RateLimitedLog(logger)
        self.parts = assemble(
            store,
            chunks,
            config,
            counters,
            needs_full_prefix=needs_full_prefix,
            tokens_per_block=tokens_per_block,
            clock=clock,
        )
        self._background = Background(self.parts)
        self._looked_at = float("-inf")

    def start(self) -> None:
        """Open the store in the background and begin to work. Once."""
        self._background.start()

    @property
    def phase(self) -> Phase:
        """Whether storage is open."""
        return self.parts.scheduler.phase

    @property
    def fault(self) -> ConnectorError | None:
        """Why storage could not be opened, the last time it was tried."""
        return self._background.fault

    def wait_open(self, timeout_s: float) -> Phase:
        """The phase once opening is over, or at the timeout. Blocks up to timeout_s."""
        return self.parts.scheduler.wait_phase(timeout_s)

    def retire(self, fault: ConnectorError) -> None:
        """Use storage no more: jobs end, lookups miss, nothing is stored. Never blocks on storage."""
        if self.parts.scheduler.phase is not Phase.CLOSED:
            logger.error("%s", fault)
        self._background.fault = fault
        self.parts.scheduler.enter(Phase.CLOSED, UNUSABLE)

    def gauges(self) -> dict[tuple[str, str], int]:
        """{(metric, detail): value} now."""
        parts = self.parts
        gauges = {
            ("usable", ""): int(self.phase is Phase.READY),
            ("breaker_open", ""): int(parts.breaker.is_open),
            ("writes_paused", ""): int(parts.backoff.is_paused),
            ("budget_exhausted", ""): int(parts.budget.is_exhausted),
            ("queued_bytes", ""): parts.scheduler.queue.queued_bytes,
            ("data_path", parts.store.data_path.name): 1,
        }
        if parts.store.publish_strategy:  # not known before the namespace is open
            gauges["publish_strategy", parts.store.publish_strategy] = 1
        return gauges

    def step_begun(self, requests: int) -> None:
        """A step of the engine computes for so many requests."""
        self.parts.cost.step_begun(requests)

    def step_done(self, tokens: int, seconds: float) -> None:
        """A step of the engine computed this many tokens: what loading is measured against."""
        self.parts.cost.step_done(tokens, seconds)

    # ---- lookups --------------------------------------------------------------------------------------

    def lookup(self, request_id: str, key: bytes) -> LookupStatus:
        """See LookupService.lookup. While the store is being opened a request waits, up to its deadline."""
        unused = UNUSABLE if self.parts.scheduler.refuses else BREAKER if self.parts.breaker.is_open else ""
        if unused:
            self._counters.add("lookup_misses", detail=unused)
            return LookupStatus.MISS
        return self.parts.lookups.lookup(request_id, key)

    def is_waiting(self, request_id: str) -> bool:
        """Whether looking up the request's blocks again would change nothing yet."""
        parts = self.parts
        return not (parts.scheduler.refuses or parts.breaker.is_open) and parts.lookups.is_waiting(request_id)

    def end_step(self) -> None:
        """Send out the step's lookups together."""
        self.parts.lookups.flush()

    def be_patient(self, request_id: str) -> None:
        """The request wants what storage has, however long that takes within the deadlines."""
        self.parts.lookups.be_patient(request_id)

    def forget(self, request_id: str) -> None:
        """The request is over."""
        self.parts.lookups.forget(request_id)

    # ---- jobs -----------------------------------------------------------------------------------------

    def submit_load(self, job_id: int, request_id: str, keys: Sequence[bytes], chunks: Sequence[int]) -> None:
        """Read blocks into chunks, of a prefix in its order. Ensures: exactly one FinishedJob."""
        job = self._job(job_id, Direction.LOAD, request_id, keys, self._config.load_deadline_s)
        job.is_prefix = self._needs_full_prefix
        refused = self.parts.scheduler.submit(job, list(zip(keys, chunks, strict=True)))
        self._counters.add("load_failures", refused, detail=UNUSABLE)

    def submit_store(
        self, job_id: int, request_id: str, keys: Sequence[bytes], chunks: Sequence[int], no_store: str = ""
    ) -> None:
        """Write chunks as blocks; what the queue cannot hold is dropped. Ensures: exactly one FinishedJob.

        no_store: why none of them may be written, "" if they may.
        """
        parts = self.parts
        job = self._job(job_id, Direction.STORE, request_id, keys, self._config.store_deadline_s)
        wanted = []
        for key, chunk in zip(keys, chunks, strict=True):
            known = parts.cache.get(key)
            if known and known.present and not known.inferred and known.is_fresh(job.submitted):
                job.results[key] = BlockResult(True, already_stored=True)
            else:
                wanted.append((key, chunk))
        closed = no_store or (BREAKER if parts.breaker.is_open else PAUSED if parts.backoff.is_paused else "")
        if wanted and closed:
            self._counters.add("store_drops", len(wanted), detail=closed)
            wanted = []
        refused = parts.scheduler.submit(job, wanted)
        self._counters.add("store_drops", refused, detail=UNUSABLE if parts.scheduler.refuses else QUEUE_FULL)

    def _job(self, job_id: int, direction: Direction, request: str, keys: Sequence[bytes], limit_s: float) -> Job:
        now = self._clock()
        return Job(job_id, direction, request, list(keys), now, now + limit_s, self.parts.store.data_path.new_gate())

    def finished(self) -> list[FinishedJob]:
        """Jobs that ended since the last call, those that are not worth their time any more included.

        A request whose load failed is not told "there" again.
        """
        if (now := self._clock()) - self._looked_at >= LOOK_EVERY_S:
            self._looked_at = now
            self._cancel_late()
        finished = self.parts.scheduler.finished()
        for job in finished:
            self.parts.recorder.finished(job)
            if job.direction is Direction.LOAD and job.success:
                self.parts.cost.load_done(len(job.keys), job.active_s, self._clock())
            elif job.direction is Direction.LOAD:
                self.parts.lookups.mark_missed(job.request_id, job.failed)
        return finished

    def take_events(self) -> list[tuple[bytes, bool]]:
        """(key, whether it is gone) for blocks that this engine stored, or found to be gone, since the last call."""
        return self.parts.recorder.take_events()

    def drain(self, timeout_s: float) -> bool:
        """Wait for all jobs; at the timeout end the rest. Ensures: no job is left, no chunk is touched.

        Returns: whether all ended by themselves. Blocks up to timeout_s, and the copies then running.
        """
        complete = self.parts.scheduler.wait_empty(timeout_s, self._cancel_late)
        self.parts.scheduler.end_all(DEADLINE)
        return complete

    def close(self, timeout_s: float) -> int:
        """End all jobs and threads. Ensures: no chunk is touched afterwards. Blocks up to timeout_s.

        Returns: how many threads still hang in a system call (daemons; they hold only their own buffers).
        """
        self.parts.scheduler.enter(Phase.CLOSED, UNUSABLE)
        self.parts.scheduler.end_all(UNUSABLE)
        return self._background.close(timeout_s)

    def _cancel_late(self) -> None:
        parts = self.parts
        late = parts.scheduler.overdue(self._clock())
        # That the cache has no room for a block says nothing of the storage.
        unfit = [job for job in late if job.direction is Direction.STORE and parts.budget.is_exhausted]
        parts.scheduler.cancel(unfit, NO_BUDGET)
        for job in parts.scheduler.cancel(late, DEADLINE):
            parts.breaker.missed(job.direction.value)
        for load in parts.scheduler.progress():
            blocks = load.job.wanted
            if parts.lookups.is_patient(load.job.request_id) or not parts.cost.should_cancel(blocks, load):
                continue
            parts.cost.load_cancelled(self._clock())
            parts.scheduler.cancel([load.job], SLOW)
            text = "loading %d blocks is slower than computing them (%.0f %% after %.2f s): the rest is computed"
            self._log.log(logging.WARNING, SLOW, text, blocks, 100 * load.part, load.seconds)

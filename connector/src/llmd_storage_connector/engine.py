# SPDX-License-Identifier: Apache-2.0
"""Threads and deadlines between vLLM's scheduler and the block store.

The scheduler's thread only queues and collects. A job is spread block by block over all I/O threads.
Every block passes through the buffer its thread owns: a read that hangs can never land in memory that
was given back, a write that hangs never reads what replaced its block.

    field                                 | owner      | guarded by
    _ledger, lookups, verdicts, _counters | any        | themselves
    fault                                 | opener     | written before the phase that shows it
    a thread's BlockBuffer                | the thread |
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from llmd_storage_connector.breaker import Breaker
from llmd_storage_connector.config import Config
from llmd_storage_connector.counters import Counters
from llmd_storage_connector.errors import ConnectorError
from llmd_storage_connector.format import BlockSpec
from llmd_storage_connector.jobs import Job, Kind, Result
from llmd_storage_connector.ledger import Ledger, Phase
from llmd_storage_connector.lookups import DEADLINE, Answer, Lookups
from llmd_storage_connector.store import BlockBuffer, Outcome
from llmd_storage_connector.verdicts import Verdict, VerdictCache

logger = logging.getLogger("vllm.llmd_storage_connector.engine")

UNUSABLE = "unusable"
BREAKER = "breaker"
LOOKUP = "lookup"
QUEUE_FULL = "queue_full"
_FAILURES = {Kind.LOAD: "load_failures", Kind.STORE: "store_failures"}
_DONE = {Kind.LOAD: "loaded", Kind.STORE: "stored"}


class Store(Protocol):
    """What the engine needs of a block store; every method may hang."""

    spec: BlockSpec

    def open(self) -> None: ...
    def contains(self, key: bytes) -> Outcome: ...
    def get(self, key: bytes, buffer: BlockBuffer) -> Outcome: ...
    def put(self, key: bytes, buffer: BlockBuffer) -> Outcome: ...
    def touch(self, key: bytes) -> None: ...
    def answers(self) -> bool: ...


class Rows(Protocol):
    """The CPU tier's memory, by row. Copies are memory only and release the interpreter lock."""

    def copy_out(self, row: int, target: memoryview) -> None: ...
    def copy_in(self, row: int, source: memoryview) -> None: ...


class TransferEngine:
    """See the module's head. Constructing starts nothing: call start()."""

    def __init__(
        self,
        store: Store,
        rows: Rows,
        config: Config,
        counters: Counters,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._rows = rows
        self._config = config
        self._counters = counters
        self._clock = clock
        self._row_bytes = store.spec.payload_bytes
        self.verdicts = VerdictCache()
        self.breaker = Breaker(store.answers, config.lookup_deadline_s, self._on_breaker_open, clock)
        self.lookups = Lookups(
            contains=store.contains,
            verdicts=self.verdicts,
            counters=counters,
            clock=clock,
            deadline_s=config.lookup_deadline_s,
            threads=config.lookup_threads,
            on_late=lambda: self.breaker.missed(LOOKUP),
            on_answered=lambda: self.breaker.answered(LOOKUP),
        )
        self._ledger = Ledger(
            row_bytes=self._row_bytes,
            store_queue_bytes=config.store_queue_bytes,
            # A quarter of the threads is always free for loads.
            max_writing=max(1, config.io_threads - config.io_threads // 4),
            clock=clock,
            on_end=self._on_end,
        )
        self._threads: list[threading.Thread] = []
        self.fault: ConnectorError | None = None

    @property
    def phase(self) -> Phase:
        """Whether storage is used now."""
        return self._ledger.phase

    def start(self) -> None:
        """Open the store in the background and begin to work. Thread: the owner's, once."""
        targets = [("llmd-open", self._open), ("llmd-breaker", self.breaker.run)]
        targets += [(f"llmd-io-{index}", self._run) for index in range(self._config.io_threads)]
        for name, target in targets:
            thread = threading.Thread(target=target, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def wait_open(self, timeout_s: float) -> Phase:
        """The phase once opening is over, or at the timeout. Blocks up to timeout_s."""
        return self._ledger.wait_phase(timeout_s)

    def _open(self) -> None:
        try:
            self._store.open()
        except ConnectorError as error:
            self.fault = error
        except Exception as error:
            logger.exception("opening the storage failed in an unforeseen way")
            self.fault = ConnectorError(str(error))
        if self.fault is not None:
            logger.error("KV cache storage is NOT used, the engine serves without it: %s", self.fault)
            self._ledger.enter(Phase.UNUSABLE)
            return
        self._ledger.enter(Phase.READY)
        self.lookups.start()

    # ---- the scheduler's side: none of these waits, none touches storage -----------------------------

    def ask(self, request_id: str, key: bytes) -> Answer:
        """See Lookups.ask. While the store is being opened a request waits, up to its deadline."""
        if self._ledger.refuses:
            self._counters.add("lookup_misses", detail=UNUSABLE)
            return Answer.MISS
        if self.breaker.is_open:
            self._counters.add("lookup_misses", detail=BREAKER)
            return Answer.MISS
        return self.lookups.ask(request_id, key)

    def submit_load(self, job_id: int, request_id: str, keys: Sequence[bytes], rows: Sequence[int]) -> None:
        """Read blocks into rows. Ensures: exactly one Result for the job."""
        now = self._clock()
        job = Job(job_id, Kind.LOAD, request_id, list(keys), now, now + self._config.load_deadline_s)
        refused = self._ledger.submit(job, list(zip(keys, rows, strict=True)))
        self._counters.add("load_failures", refused, detail=UNUSABLE)

    def submit_store(self, job_id: int, request_id: str, keys: Sequence[bytes], rows: Sequence[int]) -> None:
        """Write rows as blocks; what the queue cannot hold is dropped. Ensures: exactly one Result."""
        now = self._clock()
        job = Job(job_id, Kind.STORE, request_id, list(keys), now, now + self._config.store_deadline_s)
        wanted = []
        for key, row in zip(keys, rows, strict=True):
            verdict = self.verdicts.get(key)
            if verdict and verdict.present and verdict.is_fresh(now):
                job.succeeded.append(key)
            else:
                wanted.append((key, row))
        self._counters.add("store_existing", len(job.succeeded))
        if self.breaker.is_open:
            self._counters.add("store_drops", len(wanted), detail=BREAKER)
            wanted = []
        refused = self._ledger.submit(job, wanted)
        reason = UNUSABLE if self._ledger.refuses else QUEUE_FULL
        self._counters.add("store_drops", refused, detail=reason)

    def finished(self) -> list[Result]:
        """Jobs that ended since the last call, those now past their deadline included."""
        self._expire()
        return self._ledger.results()

    def drain(self, timeout_s: float) -> bool:
        """Wait for all jobs; at the timeout end the rest. Ensures: no job is left, no row is touched.

        Returns: whether all ended by themselves. Blocks up to timeout_s, and the copies then running.
        """
        complete = self._ledger.wait_empty(timeout_s, self._expire)
        self._count_given_up(self._ledger.end_all())
        return complete

    def close(self, timeout_s: float) -> int:
        """End all jobs and threads. Ensures: no row is touched afterwards. Blocks up to timeout_s.

        Returns: how many threads still hang in a system call (daemons; they hold only their own buffers).
        """
        self._ledger.enter(Phase.CLOSED)
        self._ledger.end_all()
        self.lookups.close()
        self.breaker.close()
        limit = time.monotonic() + timeout_s
        threads = [*self._threads, *self.lookups.threads]
        for thread in threads:
            thread.join(max(0.0, limit - time.monotonic()))
        return sum(thread.is_alive() for thread in threads)

    def _expire(self) -> None:
        late = self._ledger.expire(self._clock())
        self._count_given_up(late)
        for job, _ in late:
            self.breaker.missed(job.kind.value)

    def _on_breaker_open(self) -> None:
        """What waits for sick storage ends now: its rows are wanted back, and its requests can be computed."""
        self._counters.add("breaker_trips")
        self._count_given_up(self._ledger.expire(float("inf")))

    def _count_given_up(self, jobs: list[tuple[Job, int]]) -> None:
        for job, unsettled in jobs:
            self._counters.add("deadline_misses", detail=job.kind.value)
            self._counters.add(_FAILURES[job.kind], unsettled, detail=DEADLINE)

    def _on_end(self, job: Job, failed: tuple[bytes, ...]) -> None:
        """vLLM asks again as soon as it hears of a failed load: by then the verdict must be "not there"."""
        if job.kind is Kind.LOAD:
            now = self._clock()
            for key in failed:
                self.verdicts.put(key, Verdict(False, DEADLINE, now))

    # ---- the threads' side ---------------------------------------------------------------------------

    def _run(self) -> None:
        buffer: BlockBuffer | None = None
        while (taken := self._ledger.take()) is not None:
            job, key, row = taken
            # Made at first use: a thread that never works costs no memory.
            buffer = buffer or BlockBuffer(self._store.spec)
            outcome = self._move(job, key, row, buffer)
            if outcome is not None:
                self._settle(job, key, outcome)
                if outcome.refresh:
                    self._store.touch(key)
            self._ledger.give_back(job)

    def _move(self, job: Job, key: bytes, row: int, buffer: BlockBuffer) -> Outcome | None:
        """Load or store one block. None: the job is past its deadline, nothing is left to settle."""
        try:
            if job.kind is Kind.STORE:
                copied = self._copy(job, lambda: self._rows.copy_out(row, buffer.payload))
                return self._store.put(key, buffer) if copied else None
            outcome = self._store.get(key, buffer)
            if outcome.ok and not self._copy(job, lambda: self._rows.copy_in(row, buffer.payload)):
                return None
            return outcome
        except Exception:
            logger.exception("moving a block failed in an unforeseen way")
            return Outcome(False, "internal")

    def _copy(self, job: Job, copy: Callable[[], None]) -> bool:
        """Copy between buffer and row, unless the job's rows are no longer its own."""
        if not self._ledger.begin_copy(job):
            return False
        try:
            copy()
        finally:
            self._ledger.end_copy(job)
        return True

    def _settle(self, job: Job, key: bytes, outcome: Outcome) -> None:
        """One block is over, well or not: remember, report, count."""
        if outcome.ok or job.kind is Kind.LOAD:
            self.verdicts.put(key, Verdict(outcome.ok, outcome.reason, self._clock()))
        moved = self._row_bytes if outcome.ok and not outcome.existed else 0
        if outcome.damaged:
            self._counters.add("corrupt_blocks", detail=outcome.reason)
        if not self._ledger.settle(job, key, ok=outcome.ok, moved_bytes=moved):
            return
        if outcome.ok:
            self.breaker.answered(job.kind.value)
        if outcome.existed:
            self._counters.add("store_existing")
        elif outcome.ok:
            self._counters.add(f"{_DONE[job.kind]}_blocks")
            self._counters.add(f"{_DONE[job.kind]}_bytes", moved)
        else:
            self._counters.add(_FAILURES[job.kind], detail=outcome.reason)

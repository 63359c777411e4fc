# SPDX-License-Identifier: Apache-2.0
"""Threads and deadlines between vLLM's scheduler and the block store.

The scheduler's thread only queues and collects. A job is spread block by block over all I/O threads, a large block
stripe by stripe.

    field                                        | owner     | guarded by
    _ledger, lookups, verdicts, breaker, writing | any       | themselves
    allowance                                    | any       | itself
    _counters                                    | any       | itself
    _worth                                       | scheduler |
    _accounts, _touches                          | any       | their own operations
    fault                                        | opener    | written before the phase that shows it
    a thread's BlockBuffer                       | the thread |
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue

from llmd_storage_connector.blocks.reader import BlockBuffer
from llmd_storage_connector.blocks.result import DEADLINE, SICK, Outcome
from llmd_storage_connector.blocks.temp_files import Sweeper
from llmd_storage_connector.config import Config
from llmd_storage_connector.engine.accounts import Accounts
from llmd_storage_connector.errors import ConnectorError, GivenUp
from llmd_storage_connector.eviction.budget_client import Room
from llmd_storage_connector.eviction.invalidation_feed import Notices
from llmd_storage_connector.eviction.write_budget import Allowance
from llmd_storage_connector.health.breaker import Breaker
from llmd_storage_connector.health.write_backoff import WritePause
from llmd_storage_connector.lookup.cache import VerdictCache
from llmd_storage_connector.lookup.service import Answer, Lookups
from llmd_storage_connector.telemetry.metrics import Counters
from llmd_storage_connector.telemetry.rate_limited_log import Quiet
from llmd_storage_connector.transfer.cost_model import Worth
from llmd_storage_connector.transfer.mover import Mover, Rows, Store
from llmd_storage_connector.transfer.scheduler import Ledger, Phase
from llmd_storage_connector.transfer.tasks import Done, Job, Kind, Result

logger = logging.getLogger("vllm.llmd_storage_connector.engine.engine")

UNUSABLE = "unusable"
BREAKER = "breaker"
PAUSED = "paused"
QUEUE_FULL = "queue_full"
SLOW = "slow"
NO_ROOM = "no_room"
LOOKUP = "lookup"
_SECONDS = {Kind.LOAD: "load_seconds", Kind.STORE: "store_seconds"}
# Between two tries to open storage that could not be opened.
REOPEN_S = 5.0
# Between two looks whether refused writing is due for a trial.
KEEP_EVERY_S = 1.0
# Where a call takes no time worth mentioning, more threads only take the interpreter from each other.
QUICK_THREADS = 8
# What storing a block costs the interpreter, and what a thread writes without it meanwhile, about
# (docs/decisions/0003-transfers.md). The figures only have to be right to a factor of two.
_STORE_PYTHON_S = 150e-6
_WRITTEN_BYTES_S = 1 << 30


def writers_with_work(come_and_go_s: float, block_bytes: int) -> int:
    """How many threads can store blocks on quick storage without queueing for the interpreter.

    come_and_go_s: seconds in which a small file is made and removed there.
    """
    return max(1, int((come_and_go_s + block_bytes / _WRITTEN_BYTES_S) / _STORE_PYTHON_S))


class TransferEngine:
    """See the module's head. Constructing starts nothing: call start()."""

    def __init__(
        self,
        store: Store,
        rows: Rows,
        config: Config,
        counters: Counters,
        *,
        chained: bool = False,
        tokens_per_block: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """chained: each block's key stands for all before it too. tokens_per_block: 0 when nothing is known."""
        self._store = store
        self._config = config
        self._counters = counters
        self._clock = clock
        self._row_bytes = store.spec.payload_bytes
        self._worth = Worth(tokens_per_block, config.skip_slow_loads)
        self._quiet = Quiet(logger)
        self.verdicts = VerdictCache()
        self._accounts = Accounts(counters, self.verdicts, store.spec.payload_bytes, clock)
        self.writing = WritePause(clock, lambda reason: counters.add("write_pauses", detail=reason))
        self.allowance = Allowance(clock)
        self.breaker = Breaker(store.answers, config.lookup_deadline_s, self._on_breaker_open, clock)
        self.lookups = Lookups(
            contains=store.contains,
            verdicts=self.verdicts,
            counters=counters,
            clock=clock,
            deadline_s=config.lookup_deadline_s,
            threads=config.lookup_threads,
            chained=chained,
            skips=lambda: self._worth.skips(clock()),
            patience_s=self._patience_s,
            on_late=lambda: self.breaker.missed(LOOKUP),
            on_answered=lambda: self.breaker.answered(LOOKUP),
            on_sick=lambda reason: self._on_sick(LOOKUP, reason),
        )
        self._ledger = Ledger(
            row_bytes=self._row_bytes,
            store_queue_bytes=config.store_queue_bytes,
            threads=config.io_threads,
            clock=clock,
            on_end=self._accounts.ended,
            may_store=lambda: self.allowance.take(store.spec.file_bytes),
        )
        self._mover = Mover(store, rows, self._ledger, self.allowance, self._quiet)
        self._sweeper = Sweeper(
            folder=lambda: store.folder,
            may_touch=self._may_touch,
            on_swept=lambda swept: counters.add("swept_files", swept.files),
        )
        self._notices = Notices(lambda: store.folder, self._may_touch, self._accounts.removed, self._on_advice)
        self._room = Room(
            self.allowance,
            folder=lambda: store.folder,
            may_touch=self._may_touch,
            waiting=lambda: self.queued_bytes // self._row_bytes * store.spec.file_bytes,
            on_more=self._ledger.wake,
        )
        self._touches: SimpleQueue[bytes | None] = SimpleQueue()
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []
        self.fault: ConnectorError | None = None

    @property
    def phase(self) -> Phase:
        """Whether storage is used now."""
        return self._ledger.phase

    @property
    def writes_paused(self) -> bool:
        """Whether blocks are dropped because storage refuses writing."""
        return self.writing.is_paused

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait to be stored, or are being stored."""
        return self._ledger.queued_bytes

    @property
    def publish_way(self) -> str:
        """How blocks get their names on this mount; "" until storage is open."""
        return self._store.way

    def start(self) -> None:
        """Open the store in the background and begin to work. Thread: the owner's, once."""
        targets = [("llmd-open", self._open), ("llmd-breaker", self.breaker.run)]
        targets += [("llmd-keep", self._keep)]
        targets += [("llmd-sweep", self._sweeper.run), ("llmd-notices", self._notices.run)]
        targets += [("llmd-room", self._room.run)]
        targets += [(f"llmd-io-{index}", self._run) for index in range(self._config.io_threads)]
        for name, target in targets:
            thread = threading.Thread(target=target, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def wait_open(self, timeout_s: float) -> Phase:
        """The phase once opening is over, or at the timeout. Blocks up to timeout_s."""
        return self._ledger.wait_phase(timeout_s)

    def _open(self) -> None:
        while (fault := self._try_to_open()) is not None:
            self.fault = fault
            self._quiet.log(
                logging.ERROR, UNUSABLE, "KV cache storage is NOT used, the engine serves without it: %s", fault
            )
            self._ledger.enter(Phase.UNUSABLE)
            if not getattr(fault, "passing", False) or self._closing.wait(REOPEN_S):
                return
        logger.info("KV cache storage is open: %s, blocks are published by %s", self._store.folder, self._store.way)
        if self._store.is_quick:
            self._ledger.threads = min(self._ledger.threads, QUICK_THREADS)
            self._ledger.most_writers = writers_with_work(self._store.come_and_go_s, self._store.spec.payload_bytes)
        else:
            self._ledger.blocks_a_writer = 1  # who waits for storage takes the interpreter from nobody
        self._room.begin()
        self._ledger.enter(Phase.READY)
        self.lookups.start()

    def _try_to_open(self) -> ConnectorError | None:
        try:
            self._store.open()
        except ConnectorError as error:
            return error
        except Exception as error:
            logger.exception("opening the storage failed in an unforeseen way")
            return ConnectorError(str(error))
        return None

    # ---- the scheduler's side: none of these waits, none touches storage -----------------------------

    def _patience_s(self, blocks: int) -> float:
        limit = self._config.lookup_deadline_s
        return self._worth.patience_s(blocks, limit) if self._config.lookup_deadline_derived else limit

    def computed(self, tokens: int, seconds: float) -> None:
        """A step of the engine computed this many tokens: what loading is measured against."""
        self._worth.computed(tokens, seconds)

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
            if verdict and verdict.present and not verdict.inferred and verdict.is_fresh(now):
                job.outcomes[key] = Outcome(True, existed=True)
            else:
                wanted.append((key, row))
        closed = BREAKER if self.breaker.is_open else PAUSED if self.writing.is_paused else ""
        if wanted and closed:
            self._counters.add("store_drops", len(wanted), detail=closed)
            wanted = []
        refused = self._ledger.submit(job, wanted)
        reason = UNUSABLE if self._ledger.refuses else QUEUE_FULL
        self._counters.add("store_drops", refused, detail=reason)

    def finished(self) -> list[Result]:
        """Jobs that ended since the last call, those that are not worth their time any more included."""
        self._expire()
        results = self._ledger.results()
        for result in results:
            self._counters.observe(_SECONDS[result.kind], result.seconds)
            if result.kind is Kind.LOAD and result.success:
                self._worth.loaded(len(result.succeeded), result.worked_s)
        return results

    def take_events(self) -> list[tuple[bytes, bool]]:
        """(key, whether it is gone) for blocks that this engine stored, or found to be gone, since the last call."""
        return self._accounts.take_events()

    def drain(self, timeout_s: float) -> bool:
        """Wait for all jobs; at the timeout end the rest. Ensures: no job is left, no row is touched.

        Returns: whether all ended by themselves. Blocks up to timeout_s, and the copies then running.
        """
        complete = self._ledger.wait_empty(timeout_s, self._expire)
        self._accounts.given_up(self._ledger.end_all(), DEADLINE)
        return complete

    def close(self, timeout_s: float) -> int:
        """End all jobs and threads. Ensures: no row is touched afterwards. Blocks up to timeout_s.

        Returns: how many threads still hang in a system call (daemons; they hold only their own buffers).
        """
        self._ledger.enter(Phase.CLOSED)
        self._ledger.end_all()
        self.lookups.close()
        self.breaker.close()
        self._sweeper.close()
        self._notices.close()
        self._room.close()
        self._touches.put(None)
        self._closing.set()
        limit = time.monotonic() + timeout_s
        threads = [*self._threads, *self.lookups.threads]
        for thread in threads:
            thread.join(max(0.0, limit - time.monotonic()))
        return sum(thread.is_alive() for thread in threads)

    def _expire(self) -> None:
        late = self._ledger.expire(self._clock())
        # That the cache has no room for a block says nothing of the storage.
        unfit = [one for one in late if one[0].kind is Kind.STORE and self.allowance.is_short]
        late = [one for one in late if one not in unfit]
        self._accounts.given_up(unfit, NO_ROOM)
        self._accounts.given_up(late, DEADLINE)
        for job, _ in late:
            self.breaker.missed(job.kind.value)
        for job, seconds, done, others_move in self._ledger.loads_under_way():
            if self._worth.gives_up(len(job.keys), done, seconds, others_move):
                self._worth.gave_up(len(job.keys), done, seconds)
                self._accounts.given_up(self._ledger.give_up([job]), SLOW)
                self._quiet.log(
                    logging.WARNING,
                    SLOW,
                    "loading %d blocks is slower than computing them (%.0f %% after %.2f s): it is tried again later",
                    len(job.keys),
                    100 * done,
                    seconds,
                )

    def _may_touch(self) -> bool:
        return self.phase is Phase.READY and not self.breaker.is_open

    def _on_advice(self, touch_after_s: float) -> None:
        self._store.touch_after_s = touch_after_s

    def _on_breaker_open(self) -> None:
        """What waits for sick storage ends now: its rows are wanted back, and its requests can be computed."""
        self._counters.add("breaker_trips")
        self._accounts.given_up(self._ledger.expire(float("inf")), DEADLINE)

    def _on_sick(self, operation: str, reason: str) -> None:
        """An error that is not about one block."""
        self._quiet.log(logging.WARNING, reason, "KV cache storage fails with %s (%s)", reason.upper(), operation)
        self.breaker.missed(operation, f"failed with {reason.upper()}")

    # ---- the threads' side ---------------------------------------------------------------------------

    def _run(self) -> None:
        buffer: BlockBuffer | None = None
        done: Done | None = None
        while (piece := self._ledger.take(done)) is not None:
            # Made at first use: a thread that never works costs no memory.
            buffer = buffer or BlockBuffer(self._store.spec)
            try:
                done = self._mover.move(piece, buffer)
            except GivenUp:
                done = Done(piece)  # its job was reported: nothing is left to settle
            except Exception:
                self._quiet.unforeseen("moving a block")
                done = Done(piece, Outcome(False, "internal"))
            if done.outcome is not None:
                self._judge(piece.job.kind, piece.key, done.outcome)

    def _keep(self) -> None:
        """What nobody waits for: blocks that were read are marked as used, and refused writing is tried again."""
        while not self._closing.is_set():
            try:
                key = self._touches.get(timeout=KEEP_EVERY_S)
            except Empty:
                if self.writing.is_paused and self._may_touch() and self.writing.admits(self._clock()):
                    self._judge_writing(self._store.try_writing())
            else:
                if key is not None:
                    self._store.touch(key)

    def _judge(self, kind: Kind, key: bytes, outcome: Outcome) -> None:
        """What one block's outcome says of the storage."""
        if outcome.damaged:
            self._counters.add("corrupt_blocks", detail=outcome.reason)
        if outcome.refresh:
            self._touches.put(key)
        if outcome.ok:
            self.breaker.answered(kind.value)
        if kind is Kind.LOAD and outcome.reason in SICK:
            self._on_sick(kind.value, outcome.reason)
        elif kind is Kind.STORE and not outcome.ok:
            self._judge_writing(outcome)

    def _judge_writing(self, outcome: Outcome) -> None:
        if outcome.ok:
            self.writing.succeeded()
        else:
            self.writing.refused(outcome.reason)

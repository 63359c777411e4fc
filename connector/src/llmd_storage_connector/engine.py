# SPDX-License-Identifier: Apache-2.0
"""Threads and deadlines between vLLM's scheduler and the block store.

The scheduler's thread only queues and collects. A job is spread block by block over all I/O threads, a large block
stripe by stripe. What is read passes through a buffer of the thread's own: a read that hangs can never land in memory
that was given back. What is written comes straight from the rows: a write that hangs may pick up what replaced its
block, and then does not match the checksum that was taken before.

    field                                        | owner     | guarded by
    _ledger, lookups, verdicts, breaker, writing | any       | themselves
    _counters                                    | any       | itself
    _worth                                       | scheduler |
    _events, _touches                            | any       | their own operations
    fault                                        | opener    | written before the phase that shows it
    a thread's BlockBuffer                       | the thread |
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Protocol

from llmd_storage_connector.breaker import Breaker
from llmd_storage_connector.config import Config
from llmd_storage_connector.counters import Counters
from llmd_storage_connector.errors import ConnectorError, Corrupt, GivenUp
from llmd_storage_connector.format import BlockSpec, checksum
from llmd_storage_connector.jobs import Done, Fetch, Job, Kind, Piece, Result
from llmd_storage_connector.ledger import Ledger, Phase
from llmd_storage_connector.lookups import DEADLINE, Answer, Lookups
from llmd_storage_connector.notices import Notices
from llmd_storage_connector.pause import WritePause
from llmd_storage_connector.quiet import Quiet
from llmd_storage_connector.store import ABSENT, SICK, BlockBuffer, Outcome, Reading, Sink, Source, outcome_of
from llmd_storage_connector.sweep import Sweeper
from llmd_storage_connector.verdicts import Verdict, VerdictCache
from llmd_storage_connector.worth import Worth

logger = logging.getLogger("vllm.llmd_storage_connector.engine")

UNUSABLE = "unusable"
BREAKER = "breaker"
PAUSED = "paused"
QUEUE_FULL = "queue_full"
SLOW = "slow"
LOOKUP = "lookup"
_DONE = {Kind.LOAD: "loaded", Kind.STORE: "stored"}
_FAILURES = {Kind.LOAD: "load_failures", Kind.STORE: "store_failures"}
_SECONDS = {Kind.LOAD: "load_seconds", Kind.STORE: "store_seconds"}
# Between two tries to open storage that could not be opened.
REOPEN_S = 5.0
# Between two looks whether refused writing is due for a trial.
KEEP_EVERY_S = 1.0
# Where a call takes no time worth mentioning, more threads only take the interpreter from each other.
QUICK_THREADS = 8
# Nobody may be listening to events: they are kept until asked for, but not without bound.
_MAX_EVENTS = 100_000


class Store(Protocol):
    """What the engine needs of a block store; every method may hang."""

    spec: BlockSpec
    way: str
    is_quick: bool
    touch_after_s: float

    @property
    def folder(self) -> str: ...
    def open(self) -> None: ...
    def contains(self, key: bytes) -> Outcome: ...
    def open_block(self, key: bytes) -> Reading | Outcome: ...
    def get_again(self, key: bytes, buffer: BlockBuffer, sink: Sink) -> Outcome: ...
    def put(self, key: bytes, source: Source) -> Outcome: ...
    def touch(self, key: bytes) -> None: ...
    def try_writing(self) -> Outcome: ...
    def answers(self) -> bool: ...


class Rows(Protocol):
    """The CPU tier's memory: bytes of a row from an offset on. Memory only; releases the interpreter lock."""

    def view(self, row: int, offset: int, length: int) -> memoryview: ...
    def copy_in(self, row: int, offset: int, source: memoryview) -> None: ...


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
        self._rows = rows
        self._config = config
        self._counters = counters
        self._clock = clock
        self._row_bytes = store.spec.payload_bytes
        self._stripe_bytes = store.spec.stripe_bytes
        self._stripes = store.spec.stripe_count
        self._worth = Worth(tokens_per_block, config.skip_slow_loads)
        self._quiet = Quiet(logger)
        self._events: deque[tuple[bytes, bool]] = deque(maxlen=_MAX_EVENTS)
        self.verdicts = VerdictCache()
        self.writing = WritePause(clock, lambda reason: counters.add("write_pauses", detail=reason))
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
            on_end=self._on_end,
        )
        self._sweeper = Sweeper(
            folder=lambda: store.folder,
            may_touch=self._may_touch,
            on_swept=lambda swept: counters.add("swept_files", swept.files),
        )
        self._notices = Notices(lambda: store.folder, self._may_touch, self._on_removed, self._on_advice)
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
        return [self._events.popleft() for _ in range(len(self._events))]

    def drain(self, timeout_s: float) -> bool:
        """Wait for all jobs; at the timeout end the rest. Ensures: no job is left, no row is touched.

        Returns: whether all ended by themselves. Blocks up to timeout_s, and the copies then running.
        """
        complete = self._ledger.wait_empty(timeout_s, self._expire)
        self._count_given_up(self._ledger.end_all(), DEADLINE)
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
        self._touches.put(None)
        self._closing.set()
        limit = time.monotonic() + timeout_s
        threads = [*self._threads, *self.lookups.threads]
        for thread in threads:
            thread.join(max(0.0, limit - time.monotonic()))
        return sum(thread.is_alive() for thread in threads)

    def _expire(self) -> None:
        late = self._ledger.expire(self._clock())
        self._count_given_up(late, DEADLINE)
        for job, _ in late:
            self.breaker.missed(job.kind.value)
        for job, seconds, done, others_move in self._ledger.loads_under_way():
            if self._worth.gives_up(len(job.keys), done, seconds, others_move):
                self._worth.gave_up(len(job.keys), done, seconds)
                self._count_given_up(self._ledger.give_up([job]), SLOW)
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

    def _on_removed(self, keys: list[bytes]) -> None:
        """The evictor removed these: whoever was told "there" from now on would load in vain."""
        self.verdicts.put_all(keys, Verdict(False, ABSENT, self._clock()))
        self._events.extend((key, True) for key in keys)

    def _on_advice(self, touch_after_s: float) -> None:
        self._store.touch_after_s = touch_after_s

    def _on_breaker_open(self) -> None:
        """What waits for sick storage ends now: its rows are wanted back, and its requests can be computed."""
        self._counters.add("breaker_trips")
        self._count_given_up(self._ledger.expire(float("inf")), DEADLINE)

    def _on_sick(self, operation: str, reason: str) -> None:
        """An error that is not about one block."""
        self._quiet.log(logging.WARNING, reason, "KV cache storage fails with %s (%s)", reason.upper(), operation)
        self.breaker.missed(operation, f"failed with {reason.upper()}")

    def _count_given_up(self, jobs: list[tuple[Job, int]], reason: str) -> None:
        for job, unsettled in jobs:
            if reason == DEADLINE:
                self._counters.add("deadline_misses", detail=job.kind.value)
            self._counters.add(_FAILURES[job.kind], unsettled, detail=reason)

    def _on_end(self, job: Job) -> None:
        """Count and remember what became of its blocks.

        vLLM asks again as soon as it hears of a failed load: by then the verdict must be "not there".
        """
        now, load = self._clock(), job.kind is Kind.LOAD
        reasons: dict[str, list[bytes]] = {}
        moved = [key for key, outcome in job.outcomes.items() if outcome.ok and not outcome.existed]
        present = [key for key, outcome in job.outcomes.items() if outcome.ok]
        for key in job.keys:
            outcome = job.outcomes.get(key)
            if outcome is None or not outcome.ok:
                reasons.setdefault(DEADLINE if outcome is None else outcome.reason, []).append(key)
            if outcome is not None and not outcome.ok:
                self._counters.add(_FAILURES[job.kind], detail=outcome.reason)
        self.verdicts.put_all(present, Verdict(True, "", now))
        self._counters.add(f"{_DONE[job.kind]}_blocks", len(moved))
        self._counters.add(f"{_DONE[job.kind]}_bytes", len(moved) * self._row_bytes)
        if load:
            for reason, keys in reasons.items():
                self.verdicts.put_all(keys, Verdict(False, reason, now))
            gone = [k for k, o in job.outcomes.items() if not o.ok and (o.damaged or o.reason == ABSENT)]
            self._events.extend((key, True) for key in gone)
        else:
            self._counters.add("store_existing", len(present) - len(moved))
            self._events.extend((key, False) for key in moved)

    # ---- the threads' side ---------------------------------------------------------------------------

    def _run(self) -> None:
        buffer: BlockBuffer | None = None
        done: Done | None = None
        while (piece := self._ledger.take(done)) is not None:
            # Made at first use: a thread that never works costs no memory.
            buffer = buffer or BlockBuffer(self._store.spec)
            try:
                done = self._move(piece, buffer)
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

    def _move(self, piece: Piece, buffer: BlockBuffer) -> Done:
        job, key, row = piece.job, piece.key, piece.row
        if piece.fetch is not None:
            return self._read_stripes(piece, piece.fetch, range(piece.index, piece.index + 1), buffer)
        if job.kind is Kind.STORE:
            return Done(piece, self._store.put(key, lambda at, length: self._bytes_of(job, row, at, length)))
        reading = self._store.open_block(key)
        if isinstance(reading, Outcome):
            return Done(piece, reading)
        if self._stripes == 1:
            return self._read_only_stripe(piece, reading, buffer)
        fetch = Fetch(reading, self._stripes)
        if not piece.alone:
            self._ledger.unfold(piece, fetch, self._stripes)
        return self._read_stripes(piece, fetch, range(self._stripes if piece.alone else 1), buffer)

    def _read_only_stripe(self, piece: Piece, reading: Reading, buffer: BlockBuffer) -> Done:
        """A block that is read in one go is checked before it is copied."""
        try:
            source = reading.read(0, buffer)
            outcome = reading.check()
        except (OSError, Corrupt) as error:
            outcome = outcome_of(error)
        finally:
            reading.close()
        if not outcome.ok:
            return Done(piece, self._heal(piece, outcome, buffer))
        if not self._ledger.begin_copy(piece.job):
            return Done(piece)
        try:
            self._rows.copy_in(piece.row, 0, source)
        except BaseException:
            self._ledger.end_copy(piece.job, 0)
            raise
        return Done(piece, outcome, copied_bytes=len(source))

    def _read_stripes(self, piece: Piece, fetch: Fetch, indices: range, buffer: BlockBuffer) -> Done:
        """Read these stripes of a block into its row; whoever ends the last one settles the block."""
        for index in indices:
            if not fetch.is_over:
                self._read_stripe(piece, fetch, index, buffer)
            if fetch.end_stripe():
                outcome = fetch.close()
                return Done(piece) if fetch.given_up else Done(piece, self._heal(piece, outcome, buffer))
        return Done(piece)

    def _heal(self, piece: Piece, outcome: Outcome, buffer: BlockBuffer) -> Outcome:
        """A damaged block is read once more."""
        if not outcome.damaged:
            return outcome
        return self._store.get_again(
            piece.key, buffer, lambda at, source: self._copy_in(piece.job, piece.row, at, source)
        )

    def _read_stripe(self, piece: Piece, fetch: Fetch, index: int, buffer: BlockBuffer) -> None:
        try:
            source = fetch.reading.read(index, buffer)
            self._copy_in(piece.job, piece.row, index * self._stripe_bytes, source)
        except GivenUp:
            fetch.given_up = True
        except (OSError, Corrupt) as error:
            fetch.fail(outcome_of(error))
        except Exception:
            self._quiet.unforeseen("reading a block")
            fetch.fail(Outcome(False, "internal"))

    def _copy_in(self, job: Job, row: int, offset: int, source: memoryview) -> None:
        """Buffer -> row. Raises: GivenUp when the row is no longer the job's."""
        if not self._ledger.begin_copy(job):
            raise GivenUp
        try:
            self._rows.copy_in(row, offset, source)
        finally:
            self._ledger.end_copy(job, len(source))

    def _bytes_of(self, job: Job, row: int, offset: int, length: int) -> tuple[memoryview, int]:
        """Bytes of a row, and their checksum, taken while nobody else can have the row. Raises: GivenUp."""
        if not self._ledger.begin_copy(job):
            raise GivenUp
        try:
            found = self._rows.view(row, offset, length)
            return found, checksum(found)
        finally:
            self._ledger.end_copy(job, 0)

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

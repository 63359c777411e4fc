# SPDX-License-Identifier: Apache-2.0
"""Which blocks are there: asked on the scheduler thread, found out on others.

The scheduler asks about each block of a waiting request in every step. The first time the question is noted and the
answer is "ask again"; at the end of the step a request's questions go out together, and the answers are kept for
every request. Where blocks form chains, a few of the questions answer all of them (chain.py).

    field                    | owner            | crosses by
    _requests, _asked        | scheduler thread |
    _batch, _out             | scheduler thread |
    _queue                   | any              | _wake (its lock)
    a _Search's chain        | any              | its lock
    a _Task's done           | any              | set once
    verdicts                 | any              | its own lock
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from llmd_storage_connector.blocks.result import DEADLINE, SICK, Outcome
from llmd_storage_connector.lookup.cache import Verdict, VerdictCache
from llmd_storage_connector.lookup.prefix_search import ChainSearch
from llmd_storage_connector.telemetry.metrics import Counters
from llmd_storage_connector.telemetry.rate_limited_log import Quiet

logger = logging.getLogger("vllm.llmd_storage_connector.lookup.service")

SLOWER = "slower"
BEYOND = "absent"  # behind an absent block of its chain
_MAX_KEYS_A_TASK = 64
_GROUP_BYTES = 4


class Answer(Enum):
    """What the scheduler is told."""

    HIT = "hit"
    MISS = "miss"
    ASK_AGAIN = "ask_again"


@dataclass(slots=True)
class _Request:
    """since: when it first had to wait; skipped: it is told of nothing. missed: final, whatever comes later."""

    skipped: bool
    since: float | None = None
    missed: set[bytes] = field(default_factory=set)
    waiting: dict[bytes, float] = field(default_factory=dict)


@dataclass(slots=True)
class _Search:
    """The questions of one request about one chain of blocks."""

    keys: list[bytes]
    chain: ChainSearch
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(slots=True)
class _Task:
    """Questions that one thread asks, one after the other: blocks `keys`, or places `at` in a search."""

    asked: float
    keys: list[bytes]
    search: _Search | None = None
    at: list[int] = field(default_factory=list)
    done: bool = False


class Lookups:
    """See the module's head.

    skips(): whether a new request is told of nothing. patience_s(blocks): how long a request waits for answers,
    at most deadline_s. on_late: storage left a question unanswered for deadline_s (once each); on_answered: one
    was answered in time; on_sick: it was answered by an error that is not about the block.
    """

    def __init__(
        self,
        *,
        contains: Callable[[bytes], Outcome],
        verdicts: VerdictCache,
        counters: Counters,
        clock: Callable[[], float],
        deadline_s: float,
        threads: int,
        chained: bool,
        skips: Callable[[], bool],
        patience_s: Callable[[int], float],
        on_late: Callable[[], None],
        on_answered: Callable[[], None],
        on_sick: Callable[[str], None],
    ) -> None:
        self._contains = contains
        self.verdicts = verdicts
        self._counters = counters
        self._clock = clock
        self._deadline_s = deadline_s
        self._chained = chained
        self._skips = skips
        self._patience_s = patience_s
        self._on_late = on_late
        self._on_answered = on_answered
        self._on_sick = on_sick
        self._quiet = Quiet(logger)
        self._thread_count = threads
        self._requests: dict[str, _Request] = {}
        self._asked: dict[bytes, float] = {}
        self._batch: dict[tuple[str, bytes], list[bytes]] = {}
        self._out: deque[_Task] = deque()
        self._queue: deque[_Task] = deque()
        self._wake = threading.Condition()
        self._closed = False
        self.threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin answering. Requires: the store is open. Thread: any, once."""
        for index in range(self._thread_count):
            thread = threading.Thread(target=self._run, name=f"llmd-lookup-{index}", daemon=True)
            self.threads.append(thread)
            thread.start()

    def close(self) -> None:
        """Stop answering; a thread that hangs in a system call ends when the call does."""
        with self._wake:
            self._closed = True
            self._queue.clear()
            self._wake.notify_all()

    # ---- the scheduler's side: nothing waits, nothing touches storage ---------------------------------

    def ask(self, request_id: str, key: bytes) -> Answer:
        """What to tell the scheduler about this block now."""
        request = self._requests.get(request_id)
        if request is None:
            request = self._requests[request_id] = _Request(skipped=self._skips())
        if request.skipped or key in request.missed:
            if request.skipped:
                self._counters.add("lookup_misses", detail=SLOWER)
            return Answer.MISS
        now = self._clock()
        verdict = self.verdicts.get(key)
        since = request.waiting.get(key)
        if verdict and (verdict.is_fresh(now) or (since is not None and verdict.at >= since)):
            return self._tell(request_id, request, key, verdict)
        if request.since is None:
            request.since = now
        elif now - request.since >= self._patience_s(len(request.waiting)):
            self._counters.add("deadline_misses", detail="lookup")
            return self._tell(request_id, request, key, Verdict(False, DEADLINE, now))
        if since is None:
            request.waiting[key] = now
        # A question whose answer got lost (nobody asked it in time) is asked anew.
        if now - self._asked.get(key, float("-inf")) >= self._deadline_s:
            self._asked[key] = now
            self._batch.setdefault((request_id, key[-_GROUP_BYTES:]), []).append(key)
        return Answer.ASK_AGAIN

    def _tell(self, request_id: str, request: _Request, key: bytes, verdict: Verdict) -> Answer:
        if request.waiting.pop(key, None) is not None:
            if request.since is not None and not request.waiting:
                self._counters.observe("lookup_seconds", self._clock() - request.since)
            self._asked.pop(key, None)
        if verdict.present:
            self._counters.add("lookup_hits")
            return Answer.HIT
        request.missed.add(key)
        self._counters.add("lookup_misses", detail=verdict.reason)
        logger.debug("request %s: block %s is not there: %s", request_id, key.hex(), verdict.reason)
        return Answer.MISS

    def forget(self, request_id: str) -> None:
        """The request is over."""
        request = self._requests.pop(request_id, None)
        for key in request.waiting if request else ():
            self._asked.pop(key, None)

    def mark_missed(self, request_id: str, keys: list[bytes]) -> None:
        """Loads of these failed: this request must not be told "there" again."""
        request = self._requests.get(request_id)
        if request is not None:
            request.missed.update(keys)

    def flush(self) -> None:
        """Send out this step's questions, and notice those that storage leaves unanswered."""
        now = self._clock()
        while self._out and (self._out[0].done or now - self._out[0].asked >= self._deadline_s):
            if not self._out.popleft().done:
                self._on_late()
        if not self._batch:
            return
        tasks = [task for keys in self._batch.values() for task in self._tasks(keys, now)]
        self._batch = {}
        self._out.extend(tasks)
        self._enqueue(tasks)

    # ---- the threads' side ----------------------------------------------------------------------------

    def _tasks(self, keys: list[bytes], now: float) -> list[_Task]:
        if self._chained and len(keys) > self._thread_count:
            return self._next_round(_Search(keys, ChainSearch(len(keys), self._thread_count)), now)
        size = max(1, min(_MAX_KEYS_A_TASK, -(-len(keys) // self._thread_count)))
        return [_Task(now, keys[at : at + size]) for at in range(0, len(keys), size)]

    @staticmethod
    def _next_round(search: _Search, now: float) -> list[_Task]:
        return [_Task(now, [search.keys[at]], search, [at]) for at in search.chain.ask()]

    def _enqueue(self, tasks: list[_Task]) -> None:
        with self._wake:
            # All tasks live equally long, so what nobody waits for any more is at the front.
            limit = self._clock() - self._deadline_s
            while self._queue and self._queue[0].asked <= limit:
                self._queue.popleft()
            self._queue.extend(tasks)
            self._wake.notify(len(tasks))

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._queue and not self._closed:
                    self._wake.wait()
                if self._closed:
                    return
                task = self._queue.popleft()
            self._do(task)

    def _do(self, task: _Task) -> None:
        for place, key in enumerate(task.keys):
            if self._closed or self._clock() - task.asked >= self._deadline_s:
                break
            outcome = self._look(key)
            if task.search is None:
                self.verdicts.put(key, Verdict(outcome.ok, outcome.reason, self._clock()))
            else:
                self._follow(task.search, task.at[place], outcome)
            if outcome.reason in SICK:
                self._on_sick(outcome.reason)
            elif self._clock() - task.asked < self._deadline_s:
                self._on_answered()
        task.done = True

    def _look(self, key: bytes) -> Outcome:
        try:
            return self._contains(key)
        except Exception:
            self._quiet.unforeseen("looking up a block")
            return Outcome(False, "internal")

    def _follow(self, search: _Search, at: int, outcome: Outcome) -> None:
        """One answer of a search: remember it; after the round's last one go on, or tell the result."""
        now = self._clock()
        self.verdicts.put(search.keys[at], Verdict(outcome.ok, outcome.reason, now))
        with search.lock:
            if not search.chain.answer(at, outcome.ok):
                return
            if not search.chain.found:
                self._enqueue(self._next_round(search, now))
                return
            end = search.chain.absent
        # What was seen stays as it was seen: only the rest is inferred.
        unseen = [key for key in search.keys[:end] if not self._is_known(key, now)]
        self.verdicts.put_all(unseen, Verdict(True, "", now, inferred=True))
        self.verdicts.put_all(search.keys[end + 1 :], Verdict(False, BEYOND, now, inferred=True))

    def _is_known(self, key: bytes, now: float) -> bool:
        verdict = self.verdicts.get(key)
        return verdict is not None and verdict.is_fresh(now)

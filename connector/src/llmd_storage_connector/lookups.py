# SPDX-License-Identifier: Apache-2.0
"""Which blocks are there: asked on the scheduler thread, found out on others.

The scheduler asks about each block of a waiting request in every step. The first time the question is queued
and the answer is "ask again"; a request's questions of one step go out together, spread over all threads,
and the answers are kept for every request.

    field         | owner                       | crosses by
    _requests     | scheduler thread            |
    _asked        | scheduler thread            |
    _batch        | scheduler thread            |
    _queue        | any                         | _wake (its lock)
    verdicts      | any                         | its own lock
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from llmd_storage_connector.counters import Counters
from llmd_storage_connector.store import Outcome
from llmd_storage_connector.verdicts import Verdict, VerdictCache

logger = logging.getLogger("vllm.llmd_storage_connector.lookups")

DEADLINE = "deadline"
_MAX_KEYS_A_TASK = 64


class Answer(Enum):
    """What the scheduler is told."""

    HIT = "hit"
    MISS = "miss"
    ASK_AGAIN = "ask_again"


@dataclass(slots=True)
class _Request:
    """deadline: None until it first has to wait; late: it passed. missed: final here, whatever comes later."""

    deadline: float | None = None
    late: bool = False
    missed: set[bytes] = field(default_factory=set)
    waiting: dict[bytes, float] = field(default_factory=dict)


class Lookups:
    """See the module's head. on_late: a request waited in vain (once each); on_answered: an answer came in time."""

    def __init__(
        self,
        *,
        contains: Callable[[bytes], Outcome],
        verdicts: VerdictCache,
        counters: Counters,
        clock: Callable[[], float],
        deadline_s: float,
        threads: int,
        on_late: Callable[[], None],
        on_answered: Callable[[], None],
    ) -> None:
        self._contains = contains
        self.verdicts = verdicts
        self._counters = counters
        self._clock = clock
        self._deadline_s = deadline_s
        self._on_late = on_late
        self._on_answered = on_answered
        self._thread_count = threads
        self._requests: dict[str, _Request] = {}
        self._asked: dict[bytes, float] = {}
        self._batch: list[bytes] = []
        self._queue: deque[tuple[float, list[bytes]]] = deque()
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

    def ask(self, request_id: str, key: bytes) -> Answer:
        """What to tell the scheduler about this block now. Thread: scheduler. Never touches storage."""
        now = self._clock()
        request = self._requests.setdefault(request_id, _Request())
        if key in request.missed:
            return Answer.MISS
        verdict = self.verdicts.get(key)
        since = request.waiting.get(key)
        if verdict and (verdict.is_fresh(now) or (since is not None and verdict.at >= since)):
            return self._tell(request, key, verdict)
        if request.deadline is None:
            request.deadline = now + self._deadline_s
        if now >= request.deadline:
            self._counters.add("deadline_misses", detail="lookup")
            if not request.late:
                request.late = True
                self._on_late()
            return self._tell(request, key, Verdict(False, DEADLINE, now))
        request.waiting.setdefault(key, now)
        # A question whose answer got lost (its task outlived the deadline) is asked anew.
        if now - self._asked.get(key, float("-inf")) >= self._deadline_s:
            self._asked[key] = now
            self._batch.append(key)
        return Answer.ASK_AGAIN

    def _tell(self, request: _Request, key: bytes, verdict: Verdict) -> Answer:
        request.waiting.pop(key, None)
        self._asked.pop(key, None)
        if verdict.present:
            self._counters.add("lookup_hits")
            return Answer.HIT
        request.missed.add(key)
        self._counters.add("lookup_misses", detail=verdict.reason)
        return Answer.MISS

    def forget(self, request_id: str) -> None:
        """The request is over. Thread: scheduler."""
        request = self._requests.pop(request_id, None)
        for key in request.waiting if request else ():
            self._asked.pop(key, None)

    def mark_missed(self, request_id: str, keys: list[bytes]) -> None:
        """Loads of these failed: this request must not be told "there" again. Thread: scheduler."""
        request = self._requests.get(request_id)
        if request is not None:
            request.missed.update(keys)

    def flush(self) -> None:
        """Send out this step's questions. Thread: scheduler."""
        if not self._batch:
            return
        size = max(1, min(_MAX_KEYS_A_TASK, -(-len(self._batch) // self._thread_count)))
        tasks = [self._batch[at : at + size] for at in range(0, len(self._batch), size)]
        self._batch = []
        now = self._clock()
        with self._wake:
            # All tasks live equally long, so what nobody waits for any more is at the front.
            while self._queue and self._queue[0][0] <= now:
                self._queue.popleft()
            self._queue.extend((now + self._deadline_s, task) for task in tasks)
            self._wake.notify(len(tasks))

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._queue and not self._closed:
                    self._wake.wait()
                if self._closed:
                    return
                deadline, keys = self._queue.popleft()
            for key in keys:
                if self._clock() >= deadline or self._closed:
                    break
                self._answer(key)
                if self._clock() < deadline:
                    self._on_answered()

    def _answer(self, key: bytes) -> None:
        try:
            outcome = self._contains(key)
        except Exception:
            logger.exception("looking up a block failed in an unforeseen way")
            outcome = Outcome(False, "internal")
        self.verdicts.put(key, Verdict(outcome.ok, outcome.reason, self._clock()))
        if not outcome.ok and outcome.reason != "absent":
            logger.debug("block %s cannot be used: %s", key.hex(), outcome.reason)

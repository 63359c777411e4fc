# SPDX-License-Identifier: Apache-2.0
"""Which blocks storage has: asked on the scheduler thread, found out on others.

The scheduler asks about each block of a waiting request in every step. The first time the lookup is noted and answered
with RETRY; at the end of the step a request's lookups go out together (pool.py), and what they find is cached for every
request. Nothing here waits, nothing touches storage.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from llmd_storage_connector.blocks.result import DEADLINE
from llmd_storage_connector.lookup.cache import CachedLookup, LookupCache
from llmd_storage_connector.lookup.pool import LOOKUP, Health, LookupPool, LookupTask, Search
from llmd_storage_connector.telemetry.metrics import Counters

logger = logging.getLogger("vllm.llmd_storage_connector.lookup.service")

SLOWER = "slower"
_GROUP_BYTES = 4


class LookupStatus(Enum):
    """What the scheduler is told: vLLM's LookupResult."""

    HIT = "hit"
    MISS = "miss"
    RETRY = "retry"


class Cost(Protocol):
    """What decides whether looking is worth the wait (transfer.cost_model)."""

    def skips_storage(self, now: float) -> bool: ...
    def lookup_timeout_s(self, blocks: int, longest_s: float) -> float: ...
    def lookup_done(self) -> None: ...
    def lookup_late(self, now: float) -> None: ...


@dataclass(slots=True)
class _Request:
    """since: when it first had to wait; skipped: it is told of nothing. missed: final, whatever comes later.

    patient: it waits as long as the deadlines allow, whatever computing would take. searches: for parts of its prefix.
    """

    skipped: bool
    patient: bool = False
    since: float | None = None
    missed: set[bytes] = field(default_factory=set)
    waiting: dict[bytes, float] = field(default_factory=dict)
    searches: list[Search] = field(default_factory=list)


class LookupService:
    """See the module's head. Thread: the scheduler's.

    deadline_s: the longest a request waits, in all, and when storage counts as not answering. adaptive: whether cost
    may make a request wait less.
    """

    def __init__(
        self,
        pool: LookupPool,
        cache: LookupCache,
        breaker: Health,
        cost: Cost,
        counters: Counters,
        *,
        deadline_s: float,
        adaptive: bool,
        clock: Callable[[], float],
    ) -> None:
        self._pool = pool
        self._cache = cache
        self._breaker = breaker
        self._cost = cost
        self._counters = counters
        self._deadline_s = deadline_s
        self._adaptive = adaptive
        self._clock = clock
        self._requests: dict[str, _Request] = {}
        self._asked: dict[bytes, float] = {}
        self._batch: dict[tuple[str, bytes], list[bytes]] = {}
        self._out: deque[LookupTask] = deque()

    def be_patient(self, request_id: str) -> None:
        """The request wants what storage has, whatever computing would take. Requires: it has asked for nothing yet."""
        self._requests[request_id] = _Request(skipped=False, patient=True)

    def is_patient(self, request_id: str) -> bool:
        """Whether be_patient was called for it."""
        request = self._requests.get(request_id)
        return request is not None and request.patient

    def is_waiting(self, request_id: str) -> bool:
        """Whether asking about the request's blocks again would change nothing: a search for them is not over.

        Of a long prefix each such round would be ten thousands of calls.
        """
        request = self._requests.get(request_id)
        if request is None or request.since is None or all(search.is_over for search in request.searches):
            return False
        return self._clock() - request.since < self._timeout_s(request)

    def lookup(self, request_id: str, key: bytes) -> LookupStatus:
        """What to tell the scheduler about this block now."""
        now = self._clock()
        request = self._requests.get(request_id)
        if request is None:
            request = self._requests[request_id] = _Request(skipped=self._cost.skips_storage(now))
        if request.skipped or key in request.missed:
            if request.skipped:
                self._counters.add("lookup_misses", detail=SLOWER)
            return LookupStatus.MISS
        known = self._cache.get(key)
        since = request.waiting.get(key)
        if known and (known.is_fresh(now) or (since is not None and known.at >= since)):
            return self._answer(request_id, request, key, known)
        if request.since is None:
            request.since = now
        elif now - request.since >= (timeout_s := self._timeout_s(request)):
            self._counters.add("deadline_misses", detail=LOOKUP)
            # Not what was asked for after the wait was over, and not what the breaker judges.
            if since is not None and self._deadline_s > timeout_s <= now - since:
                self._cost.lookup_late(now)
            return self._answer(request_id, request, key, CachedLookup(False, DEADLINE, now))
        if since is None:
            request.waiting[key] = now
        # A lookup whose result got lost (nobody asked for it in time) is done anew.
        if now - self._asked.get(key, float("-inf")) >= self._deadline_s:
            self._asked[key] = now
            self._batch.setdefault((request_id, key[-_GROUP_BYTES:]), []).append(key)
        return LookupStatus.RETRY

    def _timeout_s(self, request: _Request) -> float:
        if request.patient or not self._adaptive:
            return self._deadline_s
        return self._cost.lookup_timeout_s(len(request.waiting), self._deadline_s)

    def _answer(self, request_id: str, request: _Request, key: bytes, known: CachedLookup) -> LookupStatus:
        if request.waiting.pop(key, None) is not None:
            if request.since is not None and not request.waiting:
                self._counters.observe("lookup_seconds", self._clock() - request.since)
                # That a patient request got its answer says nothing of whether others would have waited for it.
                if known.reason != DEADLINE and not request.patient:
                    self._cost.lookup_done()
            self._asked.pop(key, None)
        if known.present:
            self._counters.add("lookup_hits")
            return LookupStatus.HIT
        request.missed.add(key)
        self._counters.add("lookup_misses", detail=known.reason)
        logger.debug("request %s: block %s is not there: %s", request_id, key.hex(), known.reason)
        return LookupStatus.MISS

    def forget(self, request_id: str) -> None:
        """The request is over."""
        request = self._requests.pop(request_id, None)
        for key in request.waiting if request else ():
            self._asked.pop(key, None)

    def mark_missed(self, request_id: str, keys: Iterable[bytes]) -> None:
        """Loads of these failed: this request must not be told "there" again."""
        request = self._requests.get(request_id)
        if request is not None:
            request.missed.update(keys)

    def flush(self) -> None:
        """Send out this step's lookups, and notice those that storage leaves unanswered."""
        now = self._clock()
        while self._out and (self._out[0].done or now - self._out[0].asked >= self._deadline_s):
            if not self._out.popleft().done:
                self._breaker.missed(LOOKUP)
        if not self._batch:
            return
        batch, self._batch = self._batch, {}
        for (request_id, _), keys in batch.items():
            tasks = self._pool.send(keys, now)
            self._out.extend(tasks)
            request = self._requests.get(request_id)
            if request is not None and tasks[0].search is not None:
                request.searches.append(tasks[0].search)

# SPDX-License-Identifier: Apache-2.0
"""What became of blocks: counted for metrics, cached for lookups, kept for vLLM's events."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from llmd_storage_connector.blocks.result import ABSENT, DEADLINE
from llmd_storage_connector.lookup.cache import CachedLookup, LookupCache
from llmd_storage_connector.telemetry.metrics import Counters
from llmd_storage_connector.transfer.tasks import Direction, FinishedJob

_MOVED = {Direction.LOAD: "loaded", Direction.STORE: "stored"}
_FAILURES = {Direction.LOAD: "load_failures", Direction.STORE: "store_failures"}
_SECONDS = {Direction.LOAD: "load_seconds", Direction.STORE: "store_seconds"}
BEHIND_HOLE = "behind_hole"
# Nobody may be listening to events: they are kept until asked for, but not without bound.
_MAX_EVENTS = 100_000


class Recorder:
    """Thread: any. The counters and the cache guard themselves; events are appended and taken one at a time.

    chunk_bytes: of a block in memory.
    """

    def __init__(self, counters: Counters, cache: LookupCache, chunk_bytes: int, clock: Callable[[], float]) -> None:
        self._counters = counters
        self._cache = cache
        self._chunk_bytes = chunk_bytes
        self._clock = clock
        self._events: deque[tuple[bytes, bool]] = deque(maxlen=_MAX_EVENTS)

    def take_events(self) -> list[tuple[bytes, bool]]:
        """(key, whether it is gone), for blocks that were stored or found to be gone since the last call."""
        return [self._events.popleft() for _ in range(len(self._events))]

    def removed(self, keys: Iterable[bytes]) -> None:
        """The evictor removed these: whoever was told "there" from now on would load in vain."""
        keys = list(keys)
        self._cache.put_all(keys, CachedLookup(False, ABSENT, self._clock()))
        self._events.extend((key, True) for key in keys)

    def finished(self, job: FinishedJob) -> None:
        """Count and remember what became of the job's blocks.

        vLLM asks again as soon as it hears of a failed load: it must not hear of it before this.
        """
        moved = job.moved
        failures, prefix = _FAILURES[job.direction], _MOVED[job.direction]
        self._counters.observe(_SECONDS[job.direction], job.seconds)
        self._counters.add(f"{prefix}_blocks", len(moved))
        self._counters.add(f"{prefix}_bytes", len(moved) * self._chunk_bytes)
        if job.cancel_reason == DEADLINE:
            self._counters.add("deadline_misses", detail=job.direction.value)
        if job.cancel_reason:
            self._counters.add(failures, job.unsettled, detail=job.cancel_reason)
        self._counters.add(failures, len(job.behind_hole), detail=BEHIND_HOLE)
        for result in job.results.values():
            if not result.ok:
                self._counters.add(failures, detail=result.reason)
        self._cache.put_all(job.succeeded, CachedLookup(True, "", self._clock()))
        if job.direction is Direction.LOAD:
            self._loaded(job)
        else:
            self._counters.add("store_existing", len(job.succeeded) - len(moved))
            self._events.extend((key, False) for key in moved)

    def _loaded(self, job: FinishedJob) -> None:
        reasons: dict[str, list[bytes]] = {}
        untried = set(job.behind_hole)
        for key in job.failed:
            result = job.results.get(key)
            # Of one that was not waited for nothing is known; this request is told so, others may find it there.
            if result is not None or (job.cancel_reason == DEADLINE and key not in untried):
                reasons.setdefault(result.reason if result else DEADLINE, []).append(key)
        for reason, keys in reasons.items():
            self._cache.put_all(keys, CachedLookup(False, reason, self._clock()))
        gone = [key for key, result in job.results.items() if result.corrupt or result.reason == ABSENT]
        self._events.extend((key, True) for key in gone)

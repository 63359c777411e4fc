# SPDX-License-Identifier: Apache-2.0
"""What became of blocks, for all who want to know: the counters, the verdicts that lookups answer from, and events."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from llmd_storage_connector.blocks.result import ABSENT, DEADLINE
from llmd_storage_connector.lookup.cache import Verdict, VerdictCache
from llmd_storage_connector.telemetry.metrics import Counters
from llmd_storage_connector.transfer.tasks import Job, Kind

_DONE = {Kind.LOAD: "loaded", Kind.STORE: "stored"}
_FAILURES = {Kind.LOAD: "load_failures", Kind.STORE: "store_failures"}
# Nobody may be listening to events: they are kept until asked for, but not without bound.
_MAX_EVENTS = 100_000


class Accounts:
    """Thread: any. counters and verdicts guard themselves; events are appended and taken one at a time."""

    def __init__(self, counters: Counters, verdicts: VerdictCache, row_bytes: int, clock: Callable[[], float]) -> None:
        self._counters = counters
        self._verdicts = verdicts
        self._row_bytes = row_bytes
        self._clock = clock
        self._events: deque[tuple[bytes, bool]] = deque(maxlen=_MAX_EVENTS)

    def take_events(self) -> list[tuple[bytes, bool]]:
        """(key, whether it is gone), for what was told since the last call."""
        return [self._events.popleft() for _ in range(len(self._events))]

    def removed(self, keys: list[bytes]) -> None:
        """The evictor removed these: whoever was told "there" from now on would load in vain."""
        self._verdicts.put_all(keys, Verdict(False, ABSENT, self._clock()))
        self._events.extend((key, True) for key in keys)

    def given_up(self, jobs: list[tuple[Job, int]], reason: str) -> None:
        """These jobs end before their time, each with so many blocks unsettled."""
        for job, unsettled in jobs:
            if reason == DEADLINE:
                self._counters.add("deadline_misses", detail=job.kind.value)
            self._counters.add(_FAILURES[job.kind], unsettled, detail=reason)

    def ended(self, job: Job) -> None:
        """Count and remember what became of the job's blocks.

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
        self._verdicts.put_all(present, Verdict(True, "", now))
        self._counters.add(f"{_DONE[job.kind]}_blocks", len(moved))
        self._counters.add(f"{_DONE[job.kind]}_bytes", len(moved) * self._row_bytes)
        if load:
            for reason, keys in reasons.items():
                self._verdicts.put_all(keys, Verdict(False, reason, now))
            gone = [k for k, o in job.outcomes.items() if not o.ok and (o.damaged or o.reason == ABSENT)]
            self._events.extend((key, True) for key in gone)
        else:
            self._counters.add("store_existing", len(present) - len(moved))
            self._events.extend((key, False) for key in moved)

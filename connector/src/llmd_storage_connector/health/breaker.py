# SPDX-License-Identifier: Apache-2.0
"""Whether storage is asked at all: sick storage costs a few deadlines, then nothing, and comes back by itself.

Closed: storage is used. When operations of one kind miss their deadline TRIP_AFTER times with none in time between,
it opens: every question is answered "no" at once, and one thread tries storage until a trial is answered in time.

    field                | owner | guarded by
    _misses, _open, _end | any   | _changed
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

logger = logging.getLogger("vllm.llmd_storage_connector.health.breaker")

# One missed deadline may be an accident; each further one is a request that waited in vain.
TRIP_AFTER = 2
# Between two trials. A trial that hangs is its own pause: it returns when storage does.
PAUSE_S = 1.0


class Breaker:
    """See the module's head. Constructing starts nothing: run() belongs on a thread of its own.

    trial: touches storage as blocks do; whether it went well. May hang. limit_s: a slower trial is no answer.
    on_open: called once each time it opens, on the thread that saw the last miss.
    """

    def __init__(
        self,
        trial: Callable[[], bool],
        limit_s: float,
        on_open: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        pause_s: float = PAUSE_S,
    ) -> None:
        self._trial = trial
        self._limit_s = limit_s
        self._on_open = on_open
        self._clock = clock
        self._pause_s = pause_s
        self._misses: dict[str, int] = {}
        self._open = False
        self._end = False
        self._changed = threading.Condition()

    @property
    def is_open(self) -> bool:
        """Whether storage is left alone. Thread: any, no lock: a moment's difference costs one question."""
        return self._open

    def missed(self, operation: str, how: str = "unanswered past its deadline") -> None:
        """A deadline passed, or storage failed in a way that is not about one block.

        Thread: any. Never blocks on storage.
        """
        with self._changed:
            self._misses[operation] = self._misses.get(operation, 0) + 1
            if self._open or self._misses[operation] < TRIP_AFTER:
                return
            self._open = True
            self._changed.notify_all()
        logger.error(
            "KV cache storage is sick (%s %s, %d times): the engine serves without it and tries it again in the "
            "background",
            operation,
            how,
            TRIP_AFTER,
        )
        self._on_open()

    def answered(self, operation: str) -> None:
        """Storage did this in time. Thread: any."""
        if self._misses.get(operation):
            with self._changed:
                self._misses[operation] = 0

    def close(self) -> None:
        """End run(). One that hangs in a trial ends when the trial does."""
        with self._changed:
            self._end = True
            self._changed.notify_all()

    def run(self) -> None:
        """Try storage whenever it is open, until close()."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._open or self._end)
                if self._end:
                    return
            began = self._clock()
            well = self._try() and self._clock() - began <= self._limit_s
            with self._changed:
                if well:
                    self._misses.clear()
                    self._open = False
                else:
                    self._changed.wait_for(lambda: self._end, self._pause_s)
            if well:
                logger.warning("KV cache storage answers again: it is used")

    def _try(self) -> bool:
        try:
            return self._trial()
        except Exception:
            logger.exception("trying the storage failed in an unforeseen way")
            return False

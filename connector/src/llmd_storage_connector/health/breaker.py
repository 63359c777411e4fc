# SPDX-License-Identifier: Apache-2.0
"""A circuit breaker for storage: unhealthy storage costs a few deadlines, then nothing, and is used again by itself.

Closed: storage is used. When operations of one kind miss their deadline TRIP_AFTER times with none in time between,
it opens: every lookup is a miss at once, until a health check is answered in time. Errors may belong to a file or to
the mount: after TRIP_AFTER in a row a health check decides.

    field                                           | owner | guarded by
    _misses, _failures, _suspected, _open, _ended   | any   | _changed
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from llmd_storage_connector.telemetry.rate_limited_log import RateLimitedLog

logger = logging.getLogger("vllm.llmd_storage_connector.health.breaker")

# One missed deadline may be an accident; each further one is a request that waited in vain.
TRIP_AFTER = 2
# Between two health checks. One that hangs is its own pause: it returns when storage does.
PAUSE_S = 1.0


class Breaker:
    """See the module's head.

    limit_s: a health check that takes longer has failed.
    """

    def __init__(self, limit_s: float, clock: Callable[[], float] = time.monotonic, pause_s: float = PAUSE_S) -> None:
        self._limit_s = limit_s
        self._clock = clock
        self._pause_s = pause_s
        self._log = RateLimitedLog(logger)
        self._misses: dict[str, int] = {}
        self._failures = 0
        self._suspected = False
        self._open = False
        self._ended = False
        self._changed = threading.Condition()

    @property
    def is_open(self) -> bool:
        """Whether storage is left alone. Thread: any, no lock: a moment's difference costs one lookup."""
        return self._open

    def missed(self, operation: str) -> None:
        """The operation missed its deadline. Thread: any. Never blocks on storage."""
        with self._changed:
            self._misses[operation] = self._misses.get(operation, 0) + 1
            if self._open or self._misses[operation] < TRIP_AFTER:
                return
            self._open = True
            self._changed.notify_all()
        logger.error(
            "KV cache storage is unhealthy (%s unanswered past its deadline, %d times): the engine serves without it "
            "and checks it in the background",
            operation,
            TRIP_AFTER,
        )

    def failed(self, operation: str, reason: str) -> None:
        """The operation ended with an error that may be about more than one block: a file that was removed under an
        open folder, or a mount that is gone.

        reason: the error's symbol in lower case. Thread: any. Never blocks on storage.
        """
        self._log.log(logging.WARNING, reason, "KV cache storage fails with %s (%s)", reason.upper(), operation)
        with self._changed:
            self._failures += 1
            if self._failures >= TRIP_AFTER and not self._open:
                self._suspected = True
                self._changed.notify_all()

    def answered(self, operation: str) -> None:
        """The operation was answered in time. Thread: any."""
        if self._failures or self._misses.get(operation):
            with self._changed:
                self._misses[operation] = self._failures = 0

    def judge_suspicion(self, health_check: Callable[[], bool]) -> bool:
        """Wait until errors came in a row, and open if storage is not healthy. Returns: False once close() is called.

        health_check: as in recover(); while it hangs, missed deadlines still open the breaker. Requires: one thread.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._suspected or self._ended)
            if self._ended:
                return False
        healthy = self._is_healthy(health_check)
        with self._changed:
            self._suspected, self._failures = False, 0
            if healthy or self._open:
                self._changed.wait_for(
                    lambda: self._ended, self._pause_s
                )  # a bad file may be asked for again and again
                return True
            self._open = True
            self._changed.notify_all()
        logger.error(
            "KV cache storage is unhealthy (errors, and it fails its check): the engine serves without it and checks "
            "it in the background"
        )
        return True

    def wait_open(self) -> bool:
        """Wait until it is open, or close() is called. Returns: whether it is open."""
        with self._changed:
            self._changed.wait_for(lambda: self._open or self._ended)
            return not self._ended

    def recover(self, health_check: Callable[[], bool]) -> None:
        """Check storage until it is healthy, and close the breaker; or until close() is called.

        health_check: uses storage as blocks do. It may hang, and this with it. Requires: called by one thread.
        """
        while not self._ended:
            healthy = self._is_healthy(health_check)
            with self._changed:
                if healthy:
                    self._misses.clear()
                    self._open = False
                else:
                    self._changed.wait_for(lambda: self._ended, self._pause_s)
            if healthy:
                logger.warning("KV cache storage answers again: it is used")
                return

    def close(self) -> None:
        """End wait_open() and recover(); one that hangs in a health check ends when the check does."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _is_healthy(self, health_check: Callable[[], bool]) -> bool:
        began = self._clock()
        try:
            return health_check() and self._clock() - began <= self._limit_s
        except Exception:
            logger.exception("checking the storage failed unexpectedly")
            return False

# SPDX-License-Identifier: Apache-2.0
"""Log lines that unhealthy storage cannot turn into a flood: one a minute for each thing that goes wrong."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable

EVERY_S = 60.0


class RateLimitedLog:
    """Writes the first line of a key at once and later ones at most every `every_s`; says how many it held back.

    Keys are few and fixed (an error's symbol, a kind of event): they are kept for ever.
    Thread: any (one lock, held for two dictionary operations; logging is done outside it).
    """

    def __init__(
        self, logger: logging.Logger, every_s: float = EVERY_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._logger = logger
        self._every_s = every_s
        self._clock = clock
        self._lock = threading.Lock()
        self._next: dict[str, float] = {}
        self._held: dict[str, int] = {}

    def log(self, level: int, key: str, message: str, *args: object) -> bool:
        """Log `message % args`, or hold it back. Returns: whether it was logged."""
        now = self._clock()
        with self._lock:
            if now < self._next.get(key, now):
                self._held[key] = self._held.get(key, 0) + 1
                return False
            self._next[key] = now + self._every_s
            held = self._held.pop(key, 0)
        if held:
            message, args = message + " (%d more of these were held back)", (*args, held)
        self._logger.log(level, message, *args)
        return True

    def unexpected(self, what: str) -> None:
        """Log the exception that is being handled, with where it came from: a bug, that may repeat for every block."""
        self.log(logging.ERROR, what, "%s failed unexpectedly:\n%s", what, traceback.format_exc())

# SPDX-License-Identifier: Apache-2.0
"""Whether blocks are written: storage that refuses writing is left alone, and tried again now and then.

    WRITING --refused--> PAUSED --after a pause--> one trial is let through --stored--> WRITING
                           ^                                |
                           +---- refused, or no result  ----+     (the pause grows)

Reading has nothing to do with it: a full or read-only filesystem serves its blocks as before.

    field                                | owner | guarded by
    _paused, _trying, _wait_s, _retry_at | any   | _lock
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from llmd_storage_connector.telemetry.rate_limited_log import RateLimitedLog

logger = logging.getLogger("vllm.llmd_storage_connector.health.write_backoff")

# From the first pause to the longest: a claim that was made larger is used again within the longest.
FIRST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 15.0

# What happened and what to do, by the reason a write was refused with. Other errors are the breaker's.
ADVICE = {
    "enospc": "the claim is full (ENOSPC): make it larger, or let the evictor keep it below its limit",
    "edquot": "the quota of this user or folder is used up (EDQUOT): raise it, or let the evictor keep usage below it",
    "erofs": "the claim is mounted read-only (EROFS): mount it read-write, and look whether the filesystem fell back "
    "to read-only after an error",
    "eacces": "this pod's user may not write here (EACCES): set the pod's fsGroup to the group of root_dir, "
    "and make root_dir group-writable",
    "eperm": "the filesystem forbids writing here (EPERM): look for root squash, an immutable folder or a security "
    "policy, and let this pod's user write in root_dir",
}


class WriteBackoff:
    """See the module's head. Thread: any. Never blocks on storage."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        *,
        first_pause_s: float = FIRST_PAUSE_S,
        longest_pause_s: float = LONGEST_PAUSE_S,
    ) -> None:
        self._clock = clock
        self._first_pause_s = first_pause_s
        self._longest_pause_s = longest_pause_s
        self._log = RateLimitedLog(logger, clock=clock)
        self._lock = threading.Lock()
        self._paused = False
        self._trying = False
        self._wait_s = first_pause_s
        self._retry_at = 0.0

    @property
    def is_paused(self) -> bool:
        """Whether writing pauses. No lock: a moment's difference costs one block."""
        return self._paused

    def admits(self, now: float) -> bool:
        """Whether to write now. While writing pauses: True once after each pause, for the trial.

        Its result is the next refused() or succeeded(); one that never comes costs another pause.
        """
        if not self.is_paused:
            return True
        with self._lock:
            if self._paused and now < self._retry_at:
                return False
            self._trying = self._paused
            self._retry_at = now + self._wait_s
            return True

    def refused(self, reason: str) -> bool:
        """A block could not be written. reason: the error's symbol in lower case.

        Returns: whether writing pauses from now on.
        """
        advice = ADVICE.get(reason)
        with self._lock:
            began = not self._paused and advice is not None
            if began:
                self._paused = True
                self._wait_s = self._first_pause_s
            elif not self._trying:
                return False  # another error, or a block that was on its way when writing paused
            else:
                self._wait_s = min(2 * self._wait_s, self._longest_pause_s)
            self._trying = False
            self._retry_at = self._clock() + self._wait_s
        if advice is not None:
            self._log.log(
                logging.WARNING,
                reason,
                "KV cache blocks are not stored: %s. Reading goes on; writing is tried again every %g to %g s",
                advice,
                self._first_pause_s,
                self._longest_pause_s,
            )
        return began

    def succeeded(self) -> None:
        """A block was written. While writing pauses only the trial's counts: earlier ones prove nothing."""
        if not self.is_paused:
            return
        with self._lock:
            if not self._trying:
                return
            self._paused = self._trying = False
        self._log.log(logging.WARNING, "resumed", "KV cache blocks are stored again")

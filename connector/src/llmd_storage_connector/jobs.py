# SPDX-License-Identifier: Apache-2.0
"""One submit from vLLM: a set of blocks to load or to store, which ends exactly once.

    LIVE    -> threads may copy between their own buffers and the job's rows
    EXPIRED -> its deadline passed: no copy may begin; it ends when the last one running is over
    DONE    -> reported; its rows belong to someone else

Copies are memory only, so EXPIRED lasts milliseconds; system calls that hang hold a thread's buffer, no row.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum


class Kind(Enum):
    """Direction."""

    LOAD = "load"
    STORE = "store"


class State(Enum):
    """See the module's head."""

    LIVE = "live"
    EXPIRED = "expired"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Result:
    """What vLLM is told. succeeded: the keys that were loaded or stored; failed: the others."""

    job_id: int
    kind: Kind
    request_id: str
    succeeded: tuple[bytes, ...]
    failed: tuple[bytes, ...]
    seconds: float
    moved_bytes: int

    @property
    def success(self) -> bool:
        return not self.failed


@dataclass(slots=True)
class Job:
    """Guarded by the engine's lock. todo: blocks no thread has taken; left: blocks not settled yet."""

    job_id: int
    kind: Kind
    request_id: str
    keys: list[bytes]
    submitted: float
    deadline: float
    todo: deque[tuple[bytes, int]] = field(default_factory=deque)
    state: State = State.LIVE
    left: int = 0
    copying: int = 0
    succeeded: list[bytes] = field(default_factory=list)
    moved_bytes: int = 0

    def result(self, now: float) -> Result:
        """What to report once it is over."""
        done = set(self.succeeded)
        failed = tuple(key for key in self.keys if key not in done)
        elapsed = now - self.submitted
        return Result(self.job_id, self.kind, self.request_id, tuple(self.succeeded), failed, elapsed, self.moved_bytes)

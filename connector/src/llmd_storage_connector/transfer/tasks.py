# SPDX-License-Identifier: Apache-2.0
"""One submit from vLLM: a set of blocks to load or to store, which ends exactly once.

    LIVE    -> threads may copy between their own buffers and the job's rows
    EXPIRED -> its deadline passed: no copy may begin; it ends when the last one running is over
    DONE    -> reported; its rows belong to someone else

Copies are memory only, so EXPIRED lasts milliseconds; system calls that hang hold a thread's buffer, no row.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from enum import Enum

from llmd_storage_connector.blocks.reader import Reading
from llmd_storage_connector.blocks.result import Outcome


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
    """What vLLM is told. succeeded: the keys that were loaded or stored; failed: the others.

    seconds: since its submission; worked_s: since a thread began with it.
    """

    job_id: int
    kind: Kind
    request_id: str
    succeeded: tuple[bytes, ...]
    failed: tuple[bytes, ...]
    seconds: float
    worked_s: float
    moved_bytes: int

    @property
    def success(self) -> bool:
        return not self.failed


@dataclass(slots=True)
class Job:
    """Guarded by the ledger's lock. todo: blocks no thread has taken; left: not settled yet; outcomes: of the rest.

    began: when a thread first took one; others_bytes: the ledger's count of copied bytes then, or at submission;
    copied_bytes: its own.
    """

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
    began: float | None = None
    copied_bytes: int = 0
    others_bytes: int = 0
    outcomes: dict[bytes, Outcome] = field(default_factory=dict)

    def result(self, now: float, block_bytes: int) -> Result:
        """What to report once it is over."""
        succeeded = tuple(key for key, outcome in self.outcomes.items() if outcome.ok)
        return Result(
            self.job_id,
            self.kind,
            self.request_id,
            succeeded,
            tuple(key for key in self.keys if key not in self.outcomes or not self.outcomes[key].ok),
            now - self.submitted,
            0.0 if self.began is None else now - self.began,
            block_bytes * sum(outcome.ok and not outcome.existed for outcome in self.outcomes.values()),
        )


class Fetch:
    """A block that is being read by several threads, a stripe each.

    Thread: any; `lock` guards what follows it. The one that finishes the last stripe settles the block.
    """

    def __init__(self, reading: Reading, stripes: int) -> None:
        self.reading = reading
        self._lock = threading.Lock()
        self._left = stripes
        self._failure: Outcome | None = None
        self.given_up = False

    @property
    def is_over(self) -> bool:
        """Whether reading more of it is pointless."""
        return self.given_up or self._failure is not None

    def fail(self, failure: Outcome) -> None:
        """A stripe cannot be had; the first reason stays."""
        with self._lock:
            self._failure = self._failure or failure

    def end_stripe(self) -> bool:
        """One stripe is through, well or not. Returns: whether it was the last."""
        with self._lock:
            self._left -= 1
            return self._left == 0

    def close(self) -> Outcome:
        """What became of the block. Requires: every stripe is through. Blocks: as long as storage does."""
        try:
            return self._failure or (Outcome(False) if self.given_up else self.reading.check())
        finally:
            self.reading.close()


@dataclass(frozen=True, slots=True)
class Piece:
    """What a thread takes: a block nobody has begun, or one more stripe of a block that is being read.

    alone: there are blocks for all threads, so that this one is to be read by one.
    """

    job: Job
    key: bytes
    row: int
    alone: bool = True
    fetch: Fetch | None = None
    index: int = 0


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a piece. outcome: of its block, None when that is not over, or nobody wants it any more.

    copied_bytes: of a copy into the row that was begun and ends with this; None without one.
    """

    piece: Piece
    outcome: Outcome | None = None
    copied_bytes: int | None = None

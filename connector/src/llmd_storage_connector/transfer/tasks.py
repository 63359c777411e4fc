# SPDX-License-Identifier: Apache-2.0
"""One submit from vLLM: a set of blocks to load or to store, which ends exactly once.

    LIVE      -> threads may copy between their own buffers and the job's chunks
    CANCELLED -> nobody waits for it any more: its gate is closed; it ends when the last copy running is over
    DONE      -> reported; its chunks belong to someone else

Copies are memory only, so CANCELLED lasts milliseconds; system calls that hang hold a thread's buffer, no chunk.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from llmd_storage_connector.blocks.gate import Gate
from llmd_storage_connector.blocks.result import LOADED, UNHEALTHY, BlockResult
from llmd_storage_connector.blocks.run import Run


class Direction(Enum):
    """LOAD: storage to the CPU tier (vLLM's promotion). STORE: CPU tier to storage (vLLM's cascade)."""

    LOAD = "load"
    STORE = "store"


class JobState(Enum):
    """See the module's head."""

    LIVE = "live"
    CANCELLED = "cancelled"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class FinishedJob:
    """What became of a job. results: of the blocks that a thread came to an end with; the other keys have none.

    cancel_reason: why it ended before its time ("" when it did not), with `unsettled` blocks still under way.
    behind_hole: keys that were not tried, since one before them in their prefix could not be had.
    seconds: since its submission; active_s: since a thread began with it.
    """

    job_id: int
    direction: Direction
    request_id: str
    keys: tuple[bytes, ...]
    results: Mapping[bytes, BlockResult]
    cancel_reason: str
    unsettled: int
    behind_hole: tuple[bytes, ...]
    seconds: float
    active_s: float

    @property
    def succeeded(self) -> tuple[bytes, ...]:
        """Keys that were loaded, or are stored."""
        return tuple(key for key, result in self.results.items() if result.ok)

    @property
    def failed(self) -> tuple[bytes, ...]:
        """The other keys."""
        return tuple(key for key in self.keys if key not in self.results or not self.results[key].ok)

    @property
    def moved(self) -> tuple[bytes, ...]:
        """Keys whose bytes went from or to storage."""
        return tuple(key for key, result in self.results.items() if result.ok and not result.already_stored)

    @property
    def success(self) -> bool:
        return not self.failed


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """How far a load is. seconds: since a thread began with it, or since its submission; part: loaded, 0 to 1.

    first_seconds, first_part: what both were when its first bytes had come. others_progress: whether other loads got
    bytes in that time.
    """

    job: Job
    seconds: float
    part: float
    first_seconds: float
    first_part: float
    others_progress: bool


@dataclass(slots=True)
class Job:
    """Guarded by the scheduler's lock. pending: (key, chunk) of blocks that were not handed out; handed_out: how many
    were, and are not over; left: not settled yet;
    results: of the rest.
    is_prefix: keys are in their order in a prefix, of which a block is of use only with all before it.
    behind_hole: keys that are not wanted any more, since one before them could not be had.

    gate: of its chunks, which counts the bytes that were copied into them, and knows when the first thread began.
    others_bytes: the scheduler's count of copied bytes when a block was first handed out, or at submission;
    first_copy: when the first of its own were seen, and how many. Times are monotonic seconds.
    runs, had: what movers have already, of tasks that are not over: by themselves, and by Python (any thread adds).
    """

    job_id: int
    direction: Direction
    request_id: str
    keys: list[bytes]
    submitted: float
    deadline: float
    gate: Gate
    is_prefix: bool = False
    behind_hole: tuple[bytes, ...] = ()
    pending: deque[tuple[bytes, int]] = field(default_factory=deque)
    state: JobState = JobState.LIVE
    cancel_reason: str = ""
    left: int = 0
    is_begun: bool = False
    handed_out: int = 0
    first_copy: tuple[float, int] = (0.0, 0)
    others_bytes: int = 0
    results: dict[bytes, BlockResult] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)
    had: dict[bytes, BlockResult] = field(default_factory=dict)

    @property
    def wanted(self) -> int:
        """How many of its blocks are of use."""
        return len(self.keys) - len(self.behind_hole)

    def progress(self, now: float, chunk_bytes: int, copied: int) -> LoadProgress:
        """How far a load is. copied: the scheduler's count of bytes."""
        self.see_copied(now)
        began = self.submitted if self.gate.began is None else self.gate.began
        whole = self.wanted * chunk_bytes
        first_at, first_bytes = self.first_copy
        own = self.gate.copied
        return LoadProgress(
            self,
            now - began,
            own / whole,
            first_at - began if first_bytes else 0.0,
            first_bytes / whole,
            copied > self.others_bytes + own,
        )

    def see_copied(self, now: float) -> None:
        """Note when the first bytes are there. Requires: the scheduler's lock."""
        if not self.first_copy[1]:
            self.first_copy = (now, self.gate.copied)

    def settle(self, results: Mapping[bytes, BlockResult]) -> int:
        """Note what became of blocks. Returns: of how many that was not known."""
        news = {key: result for key, result in results.items() if key not in self.results}
        self.left -= len(news)
        self.results |= news
        return len(news)

    def is_hole(self, result: BlockResult) -> bool:
        """Whether a block with this result makes all behind it useless."""
        # Errors that may be the mount's are for the breaker to judge, by more than one of them.
        return self.is_prefix and not result.ok and result.reason not in UNHEALTHY

    def finished(self, now: float) -> FinishedJob:
        """What to report. Requires: it is over."""
        # Of tasks that are not heard of any more.
        moved = (key for run in self.runs for (key, _), time in zip(run.blocks, run.times, strict=True) if time)
        self.settle(dict.fromkeys(moved, LOADED) | self.had)
        return FinishedJob(
            self.job_id,
            self.direction,
            self.request_id,
            tuple(self.keys),
            self.results,
            self.cancel_reason,
            self.left,
            self.behind_hole,
            now - self.submitted,
            0.0 if self.gate.began is None else now - self.gate.began,
        )


@dataclass(frozen=True, slots=True)
class Task:
    """What is handed out: blocks nobody has begun.

    blocks: (key, index of the CPU tier's chunk that the block is copied to or from), one after the other in their job.
    readers: threads that may read one block together, since there are not enough blocks for all.
    """

    job: Job
    blocks: tuple[tuple[bytes, int], ...]
    readers: int = 1


@dataclass(frozen=True, slots=True)
class Completion:
    """What became of a task. results: of its blocks that are over and wanted; untried: those that no thread came to,
    since another one failed.
    """

    task: Task
    results: Mapping[bytes, BlockResult] = field(default_factory=dict)
    untried: Sequence[tuple[bytes, int]] = ()

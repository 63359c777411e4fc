# SPDX-License-Identifier: Apache-2.0
"""Threads that look for blocks on storage and cache what they find.

field                    | owner | guarded by
_queue, _closed          | any   | _wake (its lock)
a Search's prefix       | any   | its lock
a LookupTask's done      | any   | set once
_cache, _breaker         | any   | their own locks
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from llmd_storage_connector.blocks.result import UNHEALTHY, BlockResult
from llmd_storage_connector.lookup.cache import CachedLookup, LookupCache
from llmd_storage_connector.lookup.prefix_search import PrefixSearch
from llmd_storage_connector.telemetry.rate_limited_log import RateLimitedLog

logger = logging.getLogger("vllm.llmd_storage_connector.lookup.pool")

LOOKUP = "lookup"
BEYOND = "absent"  # behind an absent block of its prefix
_MAX_KEYS_A_TASK = 64


class Blocks(Protocol):
    """What lookups need of a block store; may hang."""

    def contains(self, key: bytes) -> BlockResult: ...


class Health(Protocol):
    """What lookups tell of storage (health.breaker)."""

    def missed(self, operation: str) -> None: ...
    def failed(self, operation: str, reason: str) -> None: ...
    def answered(self, operation: str) -> None: ...


@dataclass(slots=True)
class Search:
    """The lookups of one request's prefix. doubted: blocks that were missing before were asked for again.

    is_over: every one of its blocks is in the cache, or will be in a moment.
    """

    keys: list[bytes]
    prefix: PrefixSearch
    doubted: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def is_over(self) -> bool:
        return self.prefix.found


@dataclass(slots=True)
class LookupTask:
    """Lookups that one thread does, one after the other: blocks `keys`, or places `at` in a search.

    asked: monotonic seconds; after the deadline nobody waits for it. done: every lookup of it was answered.
    """

    asked: float
    keys: list[bytes]
    search: Search | None = None
    at: list[int] = field(default_factory=list)
    done: bool = False


class LookupPool:
    """See the module's head. Constructing starts nothing.

    deadline_s: what is older is not looked for any more. needs_full_prefix: whether a block is of use only with all
    blocks before it, so that a few lookups answer all.
    """

    def __init__(
        self,
        blocks: Blocks,
        cache: LookupCache,
        breaker: Health,
        *,
        deadline_s: float,
        threads: int,
        needs_full_prefix: bool,
        clock: Callable[[], float],
    ) -> None:
        self._blocks = blocks
        self._cache = cache
        self._breaker = breaker
        self._deadline_s = deadline_s
        self._thread_count = threads
        self._needs_full_prefix = needs_full_prefix
        self._clock = clock
        self._log = RateLimitedLog(logger)
        self._queue: deque[LookupTask] = deque()
        self._wake = threading.Condition()
        self._closed = False
        self.threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin answering. Requires: the store is open. Thread: any, once."""
        for index in range(self._thread_count):
            thread = threading.Thread(target=self._run, name=f"llmd-lookup-{index}", daemon=True)
            self.threads.append(thread)
            thread.start()

    def close(self) -> None:
        """Stop answering; a thread that hangs in a system call ends when the call does."""
        with self._wake:
            self._closed = True
            self._queue.clear()
            self._wake.notify_all()

    def send(self, keys: list[bytes], now: float) -> list[LookupTask]:
        """Look for the blocks of one request, in the order of its prefix. Never waits. Returns: the tasks."""
        if self._needs_full_prefix and len(keys) > self._thread_count:
            search = Search(keys, PrefixSearch(len(keys), self._thread_count))
            tasks = self._tasks(search, search.prefix.next_round(), now)
        else:
            size = max(1, min(_MAX_KEYS_A_TASK, -(-len(keys) // self._thread_count)))
            tasks = [LookupTask(now, keys[at : at + size]) for at in range(0, len(keys), size)]
        self._enqueue(tasks)
        return tasks

    @staticmethod
    def _tasks(search: Search, indices: list[int], now: float) -> list[LookupTask]:
        return [LookupTask(now, [search.keys[at]], search, [at]) for at in indices]

    def _enqueue(self, tasks: list[LookupTask]) -> None:
        with self._wake:
            # All tasks live equally long, so what nobody waits for any more is at the front.
            limit = self._clock() - self._deadline_s
            while self._queue and self._queue[0].asked <= limit:
                self._queue.popleft()
            self._queue.extend(tasks)
            self._wake.notify(len(tasks))

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._queue and not self._closed:
                    self._wake.wait()
                if self._closed:
                    return
                task = self._queue.popleft()
            self._do(task)

    def _do(self, task: LookupTask) -> None:
        for place, key in enumerate(task.keys):
            if self._closed or self._clock() - task.asked >= self._deadline_s:
                break
            result = self._contains(key)
            if task.search is None:
                self._cache.put(key, CachedLookup(result.ok, result.reason, self._clock()))
            else:
                self._note(task.search, task.at[place], result)
            if result.reason in UNHEALTHY:
                self._breaker.failed(LOOKUP, result.reason)
            elif self._clock() - task.asked < self._deadline_s:
                self._breaker.answered(LOOKUP)
        task.done = True

    def _contains(self, key: bytes) -> BlockResult:
        try:
            return self._blocks.contains(key)
        except Exception:
            self._log.unexpected("looking up a block")
            return BlockResult(False, "internal")

    def _note(self, search: Search, at: int, result: BlockResult) -> None:
        """One result of a search: cache it; after the round's last one go on, or cache what follows from all."""
        now = self._clock()
        self._cache.put(search.keys[at], CachedLookup(result.ok, result.reason, now))
        with search.lock:
            if not search.prefix.note(at, result.ok):
                return
            if not search.prefix.found:
                self._enqueue(self._tasks(search, search.prefix.next_round(), now))
                return
            end = search.prefix.absent
            if not search.doubted:
                search.doubted = True
                if holes := [at for at, key in enumerate(search.keys[:end]) if self._was_missing(key)]:
                    self._enqueue(self._tasks(search, search.prefix.doubt(holes), now))
                    return
        # What was seen stays as it was seen: only the rest is inferred.
        unseen = [key for key in search.keys[:end] if not self._is_known(key, now)]
        self._cache.put_all(unseen, CachedLookup(True, "", now, inferred=True))
        self._cache.put_all(search.keys[end + 1 :], CachedLookup(False, BEYOND, now, inferred=True))

    def _was_missing(self, key: bytes) -> bool:
        """Whether the block was seen to be missing, however long ago: dropped, evicted or damaged."""
        known = self._cache.get(key)
        return known is not None and not known.present and not known.inferred

    def _is_known(self, key: bytes, now: float) -> bool:
        known = self._cache.get(key)
        return known is not None and known.is_fresh(now)

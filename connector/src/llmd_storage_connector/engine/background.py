# SPDX-License-Identifier: Apache-2.0
"""The threads of one engine's storage tier: they touch storage, and say what follows from what they found.

Everything that one part's news means for another is decided here: a block's result for health and write backoff, an
open breaker for the jobs under way, the evictor's news for lookups and writers.

    field      | owner      | guarded by
    fault      | opener     | written before the phase that shows it
    _refreshes | any        | itself
    _closing   | any        | itself
    a thread's BlockBuffer | the thread |
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial

from llmd_storage_connector.blocks.buffer import BlockBuffer
from llmd_storage_connector.blocks.page_cache import FORGET_EVERY_S
from llmd_storage_connector.blocks.result import DEADLINE, LOADED, UNHEALTHY, BlockResult
from llmd_storage_connector.engine.parts import Parts
from llmd_storage_connector.engine.refreshes import Refreshes
from llmd_storage_connector.errors import ConnectorError, Pending
from llmd_storage_connector.telemetry.rate_limited_log import RateLimitedLog
from llmd_storage_connector.transfer.foreman import Foreman
from llmd_storage_connector.transfer.scheduler import Phase
from llmd_storage_connector.transfer.tasks import Direction

logger = logging.getLogger("vllm.llmd_storage_connector.engine.background")

UNUSABLE = "unusable"
PENDING = "pending"
# Between two tries to open storage that could not be opened.
REOPEN_S = 5.0
# Between two looks whether refused writing is due for a trial, or whether storage is used again.
MAINTENANCE_EVERY_S = 1.0
# What storing a block of a run costs the interpreter, and what a thread writes without it meanwhile, about
# (docs/decisions/0003-transfers.md). The figures only have to be right to a factor of two.
_STORE_PYTHON_S = 20e-6
_WRITTEN_BYTES_S = 1 << 30


def useful_writers(create_remove_s: float, block_bytes: int) -> int:
    """How many threads can store blocks on low-latency storage without queueing for the interpreter.

    create_remove_s: seconds in which a small file is made and removed there.
    """
    return max(1, int((create_remove_s + block_bytes / _WRITTEN_BYTES_S) / _STORE_PYTHON_S))


class Background:
    """See the module's head. Constructing starts nothing: call start()."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._log = RateLimitedLog(logger)
        self._refreshes = Refreshes()
        self._foreman = Foreman(parts.crew, parts.scheduler, parts.runner, self._judge)
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []
        self.fault: ConnectorError | None = None

    def start(self) -> None:
        """Open storage and begin to work. Thread: the owner's, once."""
        parts = self._parts
        targets: list[tuple[str, Callable[[], None]]] = [
            ("open", self._open),
            ("breaker", self._watch_breaker),
            ("suspicion", self._judge_suspicions),
            ("maintain", self._maintain),
            ("temp-files", lambda: self._poll(lambda: parts.temp_files.pause_s, self._collect_temp_files)),
            ("page-cache", lambda: self._poll(lambda: FORGET_EVERY_S, parts.written.poll)),
            ("feed", lambda: self._poll(lambda: parts.feed.pause_s, self._poll_feed)),
            ("budget", lambda: self._poll(lambda: parts.budget_client.pause_s, self._poll_budget)),
        ]
        move = partial(self._foreman.move, partial(BlockBuffer, parts.store.spec))
        targets += [("foreman", self._foreman.lead)]
        targets += [(f"io-{index}", move) for index in range(parts.config.io_threads)]
        for name, target in targets:
            thread = threading.Thread(target=target, name=f"llmd-{name}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def close(self, timeout_s: float) -> int:
        """End all threads. Requires: the scheduler is closed. Blocks up to timeout_s.

        Returns: how many threads still hang in a system call (daemons; they hold only their own buffers).
        """
        parts = self._parts
        parts.pool.close()
        self._foreman.close()
        parts.breaker.close()
        self._closing.set()
        self._refreshes.close()
        limit = time.monotonic() + timeout_s
        threads = [*self._threads, *parts.pool.threads]
        for thread in threads:
            thread.join(max(0.0, limit - time.monotonic()))
        return sum(thread.is_alive() for thread in threads)

    # ---- opening --------------------------------------------------------------------------------------

    def _open(self) -> None:
        parts = self._parts
        while (fault := self._try_to_open()) is not None:
            self.fault = fault
            is_pending = isinstance(fault, Pending)
            level, key = (logging.WARNING, PENDING) if is_pending else (logging.ERROR, UNUSABLE)
            self._log.log(level, key, "KV cache storage is NOT used, the engine serves without it: %s", fault)
            parts.scheduler.enter(Phase.UNUSABLE, UNUSABLE)
            pause_s = 0.0 if is_pending else REOPEN_S  # what is pending was waited for
            if not getattr(fault, "transient", False) or self._closing.wait(pause_s):
                return
        store, scheduler = parts.store, parts.scheduler
        logger.info("KV cache storage is open: %s, blocks are published by %s", store.folder, store.publish_strategy)
        if store.mount.is_low_latency:
            writers = useful_writers(store.mount.create_remove_s, store.spec.payload_bytes)
            scheduler.queue.limit(max_writers=writers)
        else:
            scheduler.queue.limit(blocks_per_writer=1)  # who waits for storage takes the interpreter from nobody
        self._poll_budget()
        if not parts.budget.is_known:
            parts.budget.update(None)
        scheduler.enter(Phase.READY)
        parts.pool.start()

    def _try_to_open(self) -> ConnectorError | None:
        try:
            self._parts.store.open()
        except ConnectorError as error:
            return error
        except Exception as error:
            logger.exception("opening the storage failed unexpectedly")
            return ConnectorError(str(error))
        return None

    # ---- moving blocks --------------------------------------------------------------------------------

    def _judge(self, direction: Direction, results: Mapping[bytes, BlockResult]) -> None:
        """What blocks' results say of the storage."""
        for key, result in results.items():
            if result is not LOADED:
                self._judge_one(direction, key, result)
        if any(result.ok for result in results.values()):
            self._parts.breaker.answered(direction.value)

    def _judge_one(self, direction: Direction, key: bytes, result: BlockResult) -> None:
        parts = self._parts
        if result.corrupt:
            parts.counters.add("corrupt_blocks", detail=result.reason)
        if result.refresh:
            self._refreshes.add(key)
        if direction is Direction.LOAD and result.reason in UNHEALTHY:
            parts.breaker.failed(direction.value, result.reason)
        elif direction is Direction.STORE and not result.ok:
            self._judge_writing(result)
        elif direction is Direction.STORE and not result.already_stored and parts.store.mount.keeps_written:
            parts.written.add(parts.store.path(key))

    def _judge_writing(self, result: BlockResult) -> None:
        if result.ok:
            self._parts.backoff.succeeded()
        elif self._parts.backoff.refused(result.reason):
            self._parts.counters.add("write_pauses", detail=result.reason)

    # ---- what nobody waits for ------------------------------------------------------------------------

    def _watch_breaker(self) -> None:
        """What waits for unhealthy storage ends at once: its chunks are wanted back, its requests can be computed."""
        parts = self._parts
        while parts.breaker.wait_open():
            parts.counters.add("breaker_trips")
            parts.scheduler.cancel_all(DEADLINE)
            parts.breaker.recover(parts.store.is_healthy)

    def _judge_suspicions(self) -> None:
        parts = self._parts
        while parts.breaker.judge_suspicion(parts.store.is_healthy):
            pass

    def _maintain(self) -> None:
        """Blocks that were read are marked as used, and refused writing is tried again."""
        parts, looked_at = self._parts, float("-inf")
        while not self._closing.is_set():
            key = self._refreshes.next(MAINTENANCE_EVERY_S)
            if key is not None:
                parts.store.refresh_mtime(key)
            # Also while blocks are read all the time.
            if (now := parts.clock()) - looked_at >= MAINTENANCE_EVERY_S:
                looked_at = now
                if parts.backoff.is_paused and parts.in_use and parts.backoff.admits(now):
                    self._judge_writing(parts.store.try_writing())

    def _poll(self, pause_s: Callable[[], float], poll: Callable[[], None]) -> None:
        """Call it again and again. What is due while storage is not used is done soon after it is used again."""
        while not self._closing.wait(pause_s()):
            while not self._parts.in_use:
                if self._closing.wait(MAINTENANCE_EVERY_S):
                    return
            poll()

    def _collect_temp_files(self) -> None:
        try:
            self._parts.counters.add("removed_temp_files", self._parts.temp_files.poll(self._parts.store.folder).files)
        except OSError as error:
            logger.debug("could not collect unfinished files: %s", error)
        except Exception:
            self._log.unexpected("collecting unfinished files")

    def _poll_feed(self) -> None:
        try:
            news = self._parts.feed.poll(self._parts.store.folder)
        except OSError as error:
            logger.debug("could not read what the evictor removed: %s", error)
        except Exception:
            self._log.unexpected("reading what the evictor removed")
        else:
            if news.removed:
                self._parts.recorder.removed(news.removed)
            if news.refresh_after_s is not None:
                self._parts.store.refresh_after_s = news.refresh_after_s

    def _poll_budget(self) -> None:
        parts = self._parts
        try:
            more = parts.budget_client.poll(parts.store.folder, parts.queued_file_bytes)
        except OSError as error:
            text = "the evictor cannot be told what is written (%s): it keeps the budget by scanning alone"
            self._log.log(logging.WARNING, "report", text, error)
        except Exception:
            self._log.unexpected("talking with the evictor")
        else:
            if more:
                parts.scheduler.wake()

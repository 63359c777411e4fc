# SPDX-License-Identifier: Apache-2.0
"""Carries removal out, and everything that follows from it: the index, the journal, the counts, the log.

field   | owner                | guarded by
all     | the round's thread   | being one
"""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass

from llmd_storage_connector.quiet import Quiet
from llmd_storage_evictor.cache import names
from llmd_storage_evictor.cache.directory import CacheDirectory
from llmd_storage_evictor.cache.journal import Journal
from llmd_storage_evictor.cache.remover import RemovalResult, remove
from llmd_storage_evictor.config import Config
from llmd_storage_evictor.controller.liveness import Progress
from llmd_storage_evictor.controller.metrics import Metrics
from llmd_storage_evictor.core.index import Index
from llmd_storage_evictor.core.policy import Entry, Reason
from llmd_storage_evictor.core.scan_timer import Settling
from llmd_storage_evictor.errors import LeadershipLost

logger = logging.getLogger(__name__)

# Entries removed in one go. Many, since each go lists every folder once; but what is written meanwhile is not seen.
BATCH = 32768
_STUCK_S = 60.0  # a file that could not be removed is left alone for so long


@dataclass(slots=True)
class Parts:
    """What a controller works with."""

    directory: CacheDirectory
    pool: Executor
    may_remove: Callable[[], bool]
    metrics: Metrics
    progress: Progress
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time
    cpu_clock: Callable[[], float] = time.process_time


class Removals:
    """Thread: one."""

    def __init__(self, config: Config, parts: Parts, index: Index, quiet: Quiet) -> None:
        self.config, self.parts, self.index, self._quiet = config, parts, index, quiet
        self._metrics, self._clock = parts.metrics, parts.clock
        self._journal = Journal(parts.directory, config.journal_bytes, parts.wall_clock)
        self._stuck: dict[tuple[str, str, int], float] = {}
        self._settling = Settling()

    def candidates(self, namespaces: Iterable[str]) -> list[Entry]:
        """What is to be removed first of these namespaces, in order, a batch at most; without what lately failed."""
        now = self._clock()
        self._stuck = {one: until for one, until in self._stuck.items() if until > now}
        return [
            entry
            for entry in self.index.candidates(namespaces, BATCH)
            if (entry.namespace, entry.folder, entry.id) not in self._stuck
        ]

    def remove(self, entries: list[Entry], reason: Reason) -> int:
        """Returns: how many files went. Raises: AuthorityLost."""
        parts = self.parts
        before, _ = self.free()
        results = remove(parts.directory, parts.pool, entries, parts.may_remove, parts.progress.note)
        removed: dict[str, list[str]] = {}
        for result in results:
            self._learn(result)
            keys = [name.rpartition(".")[0] for name, _ in result.removed]
            removed.setdefault(result.namespace, []).extend(keys)
        sizes = [size for result in results for _, size in result.removed]
        self._settling.removed(self._clock(), before, sum(sizes))
        self._metrics.removed_files.labels(reason.value).inc(len(sizes))
        self._metrics.removed_bytes.labels(reason.value).inc(sum(sizes))
        if sizes:
            facts = {"reason": reason.value, "files": len(sizes), "bytes": sum(sizes)}
            logger.info("removed blocks", extra={"facts": facts})
        if reason is not Reason.DAMAGED:
            self._tell(removed, reason)
        if any(result.leadership_lost for result in results):
            raise LeadershipLost("another process may be the leader by now: removal was broken off")
        return len(sizes)

    def free(self) -> tuple[int, int | None]:
        """(free bytes as shown, free bytes to compare with the floor or None). Raises: OSError."""
        _, shown = self.parts.directory.space()
        self._metrics.free.set(shown)
        return shown, self._settling.counted(self._clock(), shown) if self.config.free_floor_bytes else None

    def _learn(self, result: RemovalResult) -> None:
        gone = {names.file_id(name) for name, _ in result.removed} | set(result.missing)
        known = self.index.folder(result.namespace, result.folder)
        if known is not None:
            self.index.put(result.namespace, result.folder, known.updated(gone, result.refreshed))
        self._metrics.spared.inc(len(result.refreshed))
        for id_, error in result.failed.items():
            self._stuck[result.namespace, result.folder, id_] = self._clock() + _STUCK_S
            self._metrics.failures.labels(symbol(error)).inc()
            place = f"{result.namespace}/{result.folder}"
            self._quiet.log(logging.WARNING, "failed", "blocks in %s cannot be removed: %s", place, error)

    def _tell(self, removed: Mapping[str, list[str]], reason: Reason) -> None:
        for namespace, keys in removed.items():
            try:
                self._journal.append(namespace, reason.value, keys)
            except OSError as error:
                text = "the journal cannot be written (%s): readers find out by a miss"
                self._quiet.log(logging.WARNING, "journal", text, error)


def symbol(error: OSError) -> str:
    """The error's symbol in lower case: a metrics label."""
    return errno.errorcode.get(error.errno or 0, "unknown").lower()

# SPDX-License-Identifier: Apache-2.0
"""Removes selected blocks, and records the outcome in index, journal, metrics and log."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from llmd_storage_connector.telemetry.rate_limited_log import RateLimitedLog
from llmd_storage_evictor.cache import names
from llmd_storage_evictor.cache.journal import Journal
from llmd_storage_evictor.cache.remover import RemovalResult, remove
from llmd_storage_evictor.config import Config
from llmd_storage_evictor.controller.context import Context
from llmd_storage_evictor.controller.floors import Floors
from llmd_storage_evictor.controller.metrics import errno_label
from llmd_storage_evictor.controller.troubles import explain
from llmd_storage_evictor.core.index import Index
from llmd_storage_evictor.core.policy import NS, Entry, Reason
from llmd_storage_evictor.errors import LeadershipLost

logger = logging.getLogger(__name__)

# Entries removed at once. Many, since each batch lists every folder once; but writes meanwhile are not seen.
BATCH_FILES = 32768
_FOR_WANT_OF_ROOM = {Reason.BUDGET, Reason.QUOTA, Reason.FLOOR, Reason.INODES}
_RETRY_FAILED_S = 60.0  # how long a file that could not be removed is left alone


class BlockEvictor:
    """Thread: one (the controller's)."""

    def __init__(self, config: Config, context: Context, index: Index, log: RateLimitedLog) -> None:
        self.config, self.context, self.index, self._log = config, context, index, log
        self._metrics, self._clock = context.metrics, context.clock
        self._journal = Journal(context.directory, config.effective_journal_bytes, context.wall_clock)
        self.last_failure = ""
        self._removed: dict[Reason, tuple[int, int]] = {}
        self._failed_until: dict[tuple[str, str, int], float] = {}
        self.floors = Floors(config, context, index, log)

    def candidates(self, namespaces: Iterable[str]) -> list[Entry]:
        """The next batch of these namespaces in eviction order, without files that failed lately."""
        now = self._clock()
        self._failed_until = {one: until for one, until in self._failed_until.items() if until > now}
        return [
            entry
            for entry in self.index.candidates(namespaces, BATCH_FILES)
            if (entry.namespace, entry.folder, entry.id) not in self._failed_until
        ]

    def evict(self, entries: list[Entry], reason: Reason) -> int:
        """Returns: number of files removed. Raises: LeadershipLost; what was removed before that is recorded."""
        context = self.context
        self.floors.before_removal()
        results = remove(context.directory, context.pool, entries, context.may_remove, context.liveness.update)
        self._observe_ages(entries, results, reason)
        removed: dict[str, list[str]] = {}
        for result in results:
            self._record(result)
            keys = [name.rpartition(".")[0] for name, _ in result.removed]
            removed.setdefault(result.namespace, []).extend(keys)
        sizes = [size for result in results for _, size in result.removed]
        self.floors.removed(sum(sizes), len(sizes), reason)
        self._metrics.removed_files.labels(reason.value).inc(len(sizes))
        self._metrics.removed_bytes.labels(reason.value).inc(sum(sizes))
        files, size = self._removed.get(reason, (0, 0))
        self._removed[reason] = files + len(sizes), size + sum(sizes)
        if reason is not Reason.DAMAGED and context.directory.layout is None:
            self._write_journal(removed, reason)
        if any(result.leadership_lost for result in results):
            raise LeadershipLost("another process may be the leader by now: removal was stopped")
        return len(sizes)

    def log_removed(self) -> None:
        """One line for all that was removed since the last call."""
        found = {
            reason.value: {"files": files, "bytes": size} for reason, (files, size) in self._removed.items() if files
        }
        self._removed.clear()
        if found:
            logger.info("removed blocks", extra={"fields": {"removed": found}})

    def _observe_ages(self, entries: list[Entry], results: list[RemovalResult], reason: Reason) -> None:
        """How old blocks were that had to go: whether the cache is too small for its use."""
        if reason not in _FOR_WANT_OF_ROOM:
            return
        used = {(entry.namespace, entry.id): entry.mtime_ns for entry in entries if not entry.damaged}
        now = self.context.wall_clock()
        for result in results:
            ages = self._metrics.evicted_age.labels(self.index.title(result.namespace))
            for name, _ in result.removed:
                if (mtime_ns := used.get((result.namespace, names.file_id(name)))) is not None:
                    ages.observe(max(0.0, now - mtime_ns / NS))

    def _record(self, result: RemovalResult) -> None:
        gone = {names.file_id(name) for name, _ in result.removed} | set(result.missing)
        known = self.index.folder(result.namespace, result.folder)
        if known is not None:
            self.index.put(result.namespace, result.folder, known.updated(gone, result.refreshed))
        self._metrics.skipped_files.inc(len(result.refreshed))
        for id_, error in result.failed.items():
            self._failed_until[result.namespace, result.folder, id_] = self._clock() + _RETRY_FAILED_S
            self._metrics.remove_failures.labels(errno_label(error)).inc()
            place = f"{result.namespace}/{result.folder}"
            self.last_failure = f"blocks in {place} cannot be removed: {explain(error)}"
            self._log.log(logging.WARNING, "failed", "blocks in %s cannot be removed: %s", place, error)

    def _write_journal(self, removed: Mapping[str, list[str]], reason: Reason) -> None:
        for namespace, keys in removed.items():
            try:
                self._journal.append(namespace, reason.value, keys)
            except OSError as error:
                text = "the journal cannot be written (%s): readers see a miss for each removed block"
                self._log.log(logging.WARNING, "journal", text, error)

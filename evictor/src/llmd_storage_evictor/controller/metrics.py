# SPDX-License-Identifier: Apache-2.0
"""The metrics of /metrics."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from llmd_storage_evictor.core.policy import NamespaceUsage

_PREFIX = "llmd_storage_evictor_"
# Seconds: minutes mean that the cache is too small for its use, weeks that it is larger than need be.
_AGES = (60, 600, 3600, 6 * 3600, 86400, 3 * 86400, 7 * 86400, 30 * 86400)


class Metrics:
    """Thread: any; the client library locks."""

    def __init__(self, wall_clock: Callable[[], float] = time.time) -> None:
        self._now = wall_clock
        self.registry = CollectorRegistry()
        self._leads = False
        self._of_every_process = [_PREFIX + name for name in ("leader", "last_scan_timestamp_seconds")]
        gauge, counter = self._gauge, self._counter
        self.leader = gauge("leader", "Whether this process leads (1).")
        self.budget = gauge("budget_bytes", "Bytes the cache may hold.")
        self.headroom = gauge("headroom_bytes", "Bytes until removal begins; negative beyond that.")
        self.free = gauge("filesystem_free_bytes", "Bytes free on the filesystem.")
        self.free_files = gauge("filesystem_free_files", "Files (inodes) free on the filesystem; 0 where not counted.")
        # Not "namespace": that is where Prometheus says which Kubernetes namespace the pod is in.
        of_namespace = ("cache_namespace", "model")
        self.bytes = gauge("cache_bytes", "Bytes of the blocks of a namespace, damaged ones included.", *of_namespace)
        self.files = gauge("cache_files", "Blocks of a namespace.", *of_namespace)
        self.oldest = gauge("oldest_age_seconds", "Time since the last use of the oldest block.", *of_namespace)
        self.evicted_age = Histogram(
            _PREFIX + "evicted_age_seconds",
            "Time since the last use of blocks that went for a budget, quota or floor, by model.",
            ("model",),
            registry=self.registry,
            buckets=_AGES,
        )
        self.damaged = gauge("damaged_bytes", "Bytes of damaged blocks in quarantine.")
        self.unknown_files = gauge("unknown_files", "Files in the namespaces' folders that the cache did not create.")
        self.removed_files = counter("removed_files", "Files removed, by reason.", "reason")
        self.removed_bytes = counter("removed_bytes", "Bytes removed, by reason.", "reason")
        self.remove_failures = counter("remove_failures", "Files that could not be removed, by error.", "error")
        self.skipped_files = counter("skipped_files", "Files selected for removal but skipped: used again meanwhile.")
        self.storage_errors = counter(
            "storage_errors", "Scans and removals that met a storage error, by error.", "error"
        )
        self.scans = counter("scans", "Scans for changes that finished.")
        self.metadata_ops = counter(
            "metadata_operations", "Operations by which scans looked for changes: stats, opens, 100 names of a listing."
        )
        self.last_scan_duration = gauge("last_scan_duration_seconds", "Duration of the last scan.")
        self.last_scan = gauge("last_scan_timestamp_seconds", "When the last scan finished.")
        self.reporting_engines = gauge("reporting_engines", "Engines that report what they write.")
        self.write_grant_shortage = gauge(
            "write_grant_shortage", "Whether an engine has more to write than its grant has left (1)."
        )
        self.floor_given_up = gauge(
            "floor_given_up", "Whether less than the floor is free and removing blocks did not change that (1)."
        )
        self.clock_offset = gauge(
            "clock_offset_seconds", "The storage's clock (or the engines') minus this node's: ages are counted by it."
        )
        self.unknown_models = gauge(
            "unknown_models", "Namespaces that count as pinned, since a rule asks for their model and it is not known."
        )
        self.unmatched_rules = gauge("unmatched_rules", "Configured rules under which no namespace falls.")
        self.over_budget = gauge("over_budget_bytes", "Bytes over the budget at the last scan; 0 when within it.")

    def _gauge(self, name: str, doc: str, *labels: str) -> Gauge:
        return Gauge(_PREFIX + name, doc, labels, registry=self.registry)

    def _counter(self, name: str, doc: str, *labels: str) -> Counter:
        self._of_every_process += [f"{_PREFIX}{name}_total", f"{_PREFIX}{name}_created"]
        return Counter(_PREFIX + name, doc, labels, registry=self.registry)

    def clear(self) -> None:
        """This process does not lead any more: the new leader reports the state of the cache."""
        self._leads = False

    def update(
        self,
        usage: Mapping[str, NamespaceUsage],
        title: Callable[[str], str],
        *,
        budget: int,
        high: float,
        now: float,
    ) -> None:
        """State after a scan.

        title: of a namespace (Index.title). budget: bytes. high: the high watermark. now: by the storage's clock.
        """
        self._leads = True
        for family in (self.bytes, self.files, self.oldest):
            family.clear()
        for name, held in usage.items():
            labels = name, title(name)
            self.bytes.labels(*labels).set(held.bytes)
            self.files.labels(*labels).set(held.files)
            self.oldest.labels(*labels).set(max(0.0, now - held.oldest_ns / 1e9) if held.files else 0.0)
        total = sum(held.bytes for held in usage.values())
        self.damaged.set(sum(held.damaged_bytes for held in usage.values()))
        self.budget.set(budget)
        self.headroom.set(budget * high - total)
        self.over_budget.set(max(0, total - budget))
        self.scans.inc()
        self.last_scan.set(self._now())

    def text(self) -> bytes:
        """The answer to /metrics. One that waits shows nothing of the cache: zeros would look like an empty disk."""
        shown = self.registry if self._leads else self.registry.restricted_registry(self._of_every_process)
        text: bytes = generate_latest(shown)
        return text


def errno_label(error: OSError) -> str:
    """The error's symbol in lower case (enospc), as a metric label."""
    return errno.errorcode.get(error.errno or 0, "unknown").lower()

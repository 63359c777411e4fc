# SPDX-License-Identifier: Apache-2.0
"""What is counted, and the counting. Pure: tier.py turns the table into vLLM's own metrics."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

PREFIX = "vllm:kv_offload_llmd_storage_"
# vLLM carries a histogram's samples one by one to its API server. It takes them every step, so this many in between
# means that it is not looking: further ones are left out of the histogram until it does, and counts are not exact.
MAX_SAMPLES = 1000
# Seconds, from a page cache's answer to the longest deadline.
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0)


class MetricKind(Enum):
    """What a metric shows: how often, how things are now, or how long."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. detail: name of its second label ("" = only the tier); buckets: of a histogram, upper bounds."""

    doc: str
    detail: str = ""
    kind: MetricKind = MetricKind.COUNTER
    buckets: tuple[float, ...] = ()


def _gauge(doc: str, detail: str = "") -> Metric:
    return Metric(doc, detail, MetricKind.GAUGE)


def _seconds(doc: str) -> Metric:
    return Metric(doc, kind=MetricKind.HISTOGRAM, buckets=SECONDS)


METRICS: dict[str, Metric] = {
    "usable": _gauge("Whether the storage tier is usable (1) or serving without it (0)."),
    "breaker_open": _gauge("Whether storage is left alone (1) because it failed or missed its deadlines."),
    "breaker_trips": Metric("Times that the circuit breaker opened, for failures or missed deadlines."),
    "writes_paused": _gauge("Whether blocks are not stored (1) because storage refuses writing."),
    "write_pauses": Metric("Times that writing paused, by the error that storage refused it with.", "reason"),
    "queued_bytes": _gauge("KV bytes that wait to be stored."),
    "budget_exhausted": _gauge("Whether blocks wait (1) until the evictor has made room for them within the budget."),
    "publish_strategy": _gauge("How finished blocks get their names (1 for the strategy in use).", "strategy"),
    "data_path": _gauge("What moves the bytes of blocks (1 for the code in use: native, or Python).", "code"),
    "bypassed_requests": Metric(
        "Requests kept out of the cache because vLLM does not name their blocks by all that is in them.", "reason"
    ),
    "lookup_hits": Metric("Blocks that a request asked for and storage has."),
    "lookup_misses": Metric("Blocks that a request asked for and cannot have, by reason.", "reason"),
    "lookup_seconds": _seconds("Time a request waited, in all, to learn which of its blocks storage has, in seconds."),
    "loaded_blocks": Metric("Blocks read, checked and handed to the engine."),
    "loaded_bytes": Metric("KV bytes read, checked and handed to the engine."),
    "load_failures": Metric("Blocks whose load failed and that are recomputed, by reason.", "reason"),
    "load_seconds": _seconds("Time one load took from its submission, all its blocks together, in seconds."),
    "stored_blocks": Metric("Blocks published."),
    "stored_bytes": Metric("KV bytes published."),
    "store_existing": Metric("Blocks that were not written because storage has them."),
    "store_failures": Metric("Blocks that could not be stored, by reason.", "reason"),
    "store_drops": Metric("Blocks not stored because the queue was full or storage is not used, by reason.", "reason"),
    "store_seconds": _seconds("Time one store took from its submission, all its blocks together, in seconds."),
    "corrupt_blocks": Metric("Block files refused as damaged, by the rule they break.", "rule"),
    "deadline_misses": Metric("Operations cancelled at their deadline.", "operation"),
    "removed_temp_files": Metric("Unfinished files of killed writers that were removed."),
}


class Counters:
    """Counts and samples since they were last taken. Thread: any (one lock, held for a dictionary operation)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str], int] = {}
        self._samples: dict[str, list[float]] = {}

    def add(self, name: str, amount: int = 1, detail: str = "") -> None:
        """Count. Requires: name is a counter in METRICS, detail given exactly when the metric has one."""
        assert METRICS[name].kind is MetricKind.COUNTER and bool(METRICS[name].detail) == bool(detail), name
        if amount == 0:
            return
        with self._lock:
            self._counts[name, detail] = self._counts.get((name, detail), 0) + amount

    def announce(self, name: str, details: Iterable[str]) -> None:
        """Send these counts at 0, so that Prometheus sees the first one as a change. Requires: as add."""
        assert METRICS[name].kind is MetricKind.COUNTER and METRICS[name].detail, name
        with self._lock:
            for detail in details:
                self._counts.setdefault((name, detail), 0)

    def observe(self, name: str, seconds: float) -> None:
        """Add a sample, or leave it out when MAX_SAMPLES wait. Requires: name is a histogram in METRICS."""
        assert METRICS[name].kind is MetricKind.HISTOGRAM, name
        with self._lock:
            samples = self._samples.setdefault(name, [])
            if len(samples) < MAX_SAMPLES:
                samples.append(seconds)

    def take(self) -> dict[tuple[str, str], int]:
        """{(name, detail): count} since the last call."""
        with self._lock:
            counts, self._counts = self._counts, {}
        return counts

    def take_samples(self) -> dict[str, list[float]]:
        """{name: seconds of each sample} since the last call."""
        with self._lock:
            samples, self._samples = self._samples, {}
        return samples

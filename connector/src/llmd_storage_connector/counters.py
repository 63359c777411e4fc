# SPDX-License-Identifier: Apache-2.0
"""What is counted, and the counting. Pure: tier.py turns the table into vLLM's own metrics."""

from __future__ import annotations

import threading
from dataclasses import dataclass

PREFIX = "vllm:kv_offload_shared_storage_"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. detail: name of its second label ("" = only the tier); gauge: shows a state."""

    doc: str
    detail: str = ""
    gauge: bool = False


METRICS: dict[str, Metric] = {
    "usable": Metric("Whether the storage tier is usable (1) or serving without it (0).", gauge=True),
    "breaker_open": Metric("Whether storage is left alone (1) because it missed its deadlines.", gauge=True),
    "breaker_trips": Metric("Times that storage was given up for missed deadlines."),
    "lookup_hits": Metric("Blocks that a request asked for and storage has."),
    "lookup_misses": Metric("Blocks that a request asked for and cannot have, by reason.", "reason"),
    "loaded_blocks": Metric("Blocks read, checked and handed to the engine."),
    "loaded_bytes": Metric("KV bytes read, checked and handed to the engine."),
    "load_failures": Metric("Blocks whose load failed and that are recomputed, by reason.", "reason"),
    "stored_blocks": Metric("Blocks published."),
    "stored_bytes": Metric("KV bytes published."),
    "store_existing": Metric("Blocks that were not written because storage has them."),
    "store_failures": Metric("Blocks that could not be stored, by reason.", "reason"),
    "store_drops": Metric("Blocks not stored because the queue was full or storage is not used, by reason.", "reason"),
    "corrupt_blocks": Metric("Block files refused as damaged, by the rule they break.", "rule"),
    "deadline_misses": Metric("Operations given up at their deadline.", "operation"),
}


class Counters:
    """Counts since the last take(). Thread: any (one lock, held for a dictionary operation)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str], int] = {}

    def add(self, name: str, amount: int = 1, detail: str = "") -> None:
        """Count. Requires: name is in METRICS, detail given exactly when the metric has one."""
        assert bool(METRICS[name].detail) == bool(detail), name
        if amount == 0:
            return
        with self._lock:
            self._counts[name, detail] = self._counts.get((name, detail), 0) + amount

    def take(self) -> dict[tuple[str, str], int]:
        """{(name, detail): count} since the last call."""
        with self._lock:
            counts, self._counts = self._counts, {}
        return counts

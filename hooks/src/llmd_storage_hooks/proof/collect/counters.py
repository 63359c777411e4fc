# SPDX-License-Identifier: Apache-2.0
"""A model server's metrics to counters, and what was counted between two scrapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llmd_storage_hooks.proof.collect.prometheus import Metrics
from llmd_storage_hooks.proof.connectors import CONNECTORS, LLMD_STORAGE, OWN, TIERING, Counter
from llmd_storage_hooks.proof.facts import Counters

# Gauges and flags: taken from the later of two scrapes.
_STATES = {
    "active_writes",
    "queued_bytes",
    "usable",
    "breaker_open",
    "writes_paused",
    "pauses",
    "connector_loaded",
    "attributes_sources",
}


def read_counters(metrics: Metrics, connector: str = LLMD_STORAGE) -> Counters:
    """One scrape, by the names that this connector's metrics have."""
    connector_metrics = CONNECTORS[connector]
    by_source, cached = "vllm:prompt_tokens_by_source_total", "vllm:prompt_tokens_cached_by_source_total"

    def of_tier(name: str) -> float:
        return metrics.total(f"{TIERING}{name}", tier=connector_metrics.tier) if connector_metrics.tier else 0.0

    def moved(counters: Sequence[Counter], name_of_tier: str) -> float:
        own_counters = sum(metrics.total(one.name, **one.labels) for one in counters)
        return own_counters if counters else of_tier(name_of_tier)

    def own(name: str, **labels: str) -> float:
        return metrics.total(f"{OWN}{name}", **labels)

    return Counters(
        prompt_tokens=metrics.total("vllm:prompt_tokens_total"),
        external_tokens=max(
            metrics.total(by_source, source="external_kv_transfer"),
            metrics.total("vllm:external_prefix_cache_hits_total"),
        ),
        local_tokens=metrics.total(by_source, source="local_cache_hit"),
        disk_tokens=metrics.total(cached, source="disk"),
        storage_queries=of_tier("chunk_queries_total"),
        storage_hits=of_tier("chunk_hits_total"),
        storage_read_bytes=moved(connector_metrics.read, "read_bytes_total"),
        storage_write_bytes=moved(connector_metrics.written, "write_bytes_total"),
        storage_read_failures=of_tier("promotion_job_failures_total"),
        storage_write_failures=of_tier("cascade_job_failures_total"),
        storage_stores_dropped=of_tier("backpressure_stores_dropped_total"),
        misses=metrics.by_label("reason", f"{OWN}lookup_misses_total", f"{OWN}load_failures_total"),
        refusals=metrics.by_label("reason", f"{OWN}store_drops_total", f"{OWN}store_failures_total"),
        damaged=own("corrupt_blocks_total"),
        active_writes=of_tier("active_cascade_jobs"),
        queued_bytes=own("queued_bytes"),
        usable=own("usable") if metrics.shown(f"{OWN}usable") else 1.0,
        breaker_open=own("breaker_open"),
        writes_paused=own("writes_paused"),
        pauses=tuple(metrics.by_label("reason", f"{OWN}write_pauses_total")),
        connector_loaded=metrics.has(connector_metrics.loaded),
        attributes_sources=metrics.shown(cached),
    )


def delta(before: Counters, after: Counters) -> Counters:
    """What was counted in between. Gauges and flags are taken from `after`."""

    def grown(name: str) -> Any:
        then, now = getattr(before, name), getattr(after, name)
        if name in _STATES:
            return now
        if isinstance(now, Mapping):
            return {key: max(0.0, count - then.get(key, 0.0)) for key, count in now.items()}
        return max(0.0, now - then)

    return Counters(**{name: grown(name) for name in Counters.__slots__})

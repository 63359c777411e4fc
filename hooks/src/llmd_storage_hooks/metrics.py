# SPDX-License-Identifier: Apache-2.0
"""A model server's counters: Prometheus text in, sums out."""

from __future__ import annotations

import re
from dataclasses import dataclass

# The storage tier's name in vLLM's tier label ("<position>:<tier type>"), and the CPU tier's.
STORAGE_TIER = "shared_storage"

_SAMPLE = re.compile(r"^([A-Za-z_:][A-Za-z0-9_:]*)(?:\{(.*)\})?\s+(\S+)")
_LABEL = re.compile(r'([A-Za-z_][A-Za-z0-9_]*)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Sample:
    name: str
    labels: dict[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Metrics:
    """`families` holds declared names too: a labelled counter that never counted has no sample."""

    families: frozenset[str]
    samples: tuple[Sample, ...]

    def total(self, name: str, **labels: str) -> float:
        """Sum of the samples of `name` whose labels contain the given texts; 0 when there is none."""
        return sum(
            one.value
            for one in self.samples
            if one.name == name and all(text in one.labels.get(key, "") for key, text in labels.items())
        )

    def has(self, prefix: str) -> bool:
        return any(name.startswith(prefix) for name in self.families)


def parse(text: str) -> Metrics:
    """Lines that are not samples are passed over."""
    families, samples = set(), []
    for line in text.splitlines():
        if line.startswith("#"):
            words = line.split(None, 3)
            if len(words) >= 3 and words[1] in ("TYPE", "HELP"):
                families.add(words[2])
            continue
        match = _SAMPLE.match(line)
        if match is None:
            continue
        try:
            value = float(match[3])
        except ValueError:
            continue
        families.add(match[1])
        samples.append(Sample(match[1], dict(_LABEL.findall(match[2] or "")), value))
    return Metrics(frozenset(families), tuple(samples))


@dataclass(frozen=True, slots=True)
class Reading:
    """What the proof needs of one scrape."""

    prompt_tokens: float
    external_tokens: float  # of the prompts, by KV transfer: storage tier or CPU tier
    local_tokens: float  # of the prompts, from the server's own device memory
    disk_tokens: float  # of the prompts, as vLLM attributes them to storage
    storage_queries: float
    storage_hits: float
    storage_read_bytes: float
    storage_write_bytes: float
    storage_read_failures: float
    storage_write_failures: float
    storage_stores_dropped: float
    active_writes: float
    connector_loaded: bool
    attributes_sources: bool  # vLLM says which tier a cached token came from


def reading(metrics: Metrics) -> Reading:
    tier = {"tier": STORAGE_TIER}
    by_source, cached = "vllm:prompt_tokens_by_source_total", "vllm:prompt_tokens_cached_by_source_total"
    tiering = "vllm:kv_offload_tiering_"
    return Reading(
        prompt_tokens=metrics.total("vllm:prompt_tokens_total"),
        external_tokens=max(
            metrics.total(by_source, source="external_kv_transfer"),
            metrics.total("vllm:external_prefix_cache_hits_total"),
        ),
        local_tokens=metrics.total(by_source, source="local_cache_hit"),
        disk_tokens=metrics.total(cached, source="disk"),
        storage_queries=metrics.total(f"{tiering}chunk_queries_total", **tier),
        storage_hits=metrics.total(f"{tiering}chunk_hits_total", **tier),
        storage_read_bytes=metrics.total(f"{tiering}read_bytes_total", **tier),
        storage_write_bytes=metrics.total(f"{tiering}write_bytes_total", **tier),
        storage_read_failures=metrics.total(f"{tiering}promotion_job_failures_total", **tier),
        storage_write_failures=metrics.total(f"{tiering}cascade_job_failures_total", **tier),
        storage_stores_dropped=metrics.total(f"{tiering}backpressure_stores_dropped_total", **tier),
        active_writes=metrics.total(f"{tiering}active_cascade_jobs", **tier),
        connector_loaded=metrics.has(tiering),
        attributes_sources=any(one.name == cached for one in metrics.samples),
    )


def delta(before: Reading, after: Reading) -> Reading:
    """What was counted in between. Gauges and flags are taken from `after`."""
    kept = {"active_writes", "connector_loaded", "attributes_sources"}
    values = {
        name: getattr(after, name) if name in kept else max(0.0, getattr(after, name) - getattr(before, name))
        for name in Reading.__slots__
    }
    return Reading(**values)

# SPDX-License-Identifier: Apache-2.0
"""A model server's counters: Prometheus text in, sums out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LLMD_STORAGE = "llmd-storage"

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

    def by_label(self, label: str, *names: str) -> dict[str, float]:
        """What these have counted, by the value of `label`; zeros are left out."""
        found: dict[str, float] = {}
        for one in self.samples:
            if one.name in names and one.value > 0:
                value = one.labels.get(label, "")
                found[value] = found.get(value, 0.0) + one.value
        return found

    def shown(self, name: str) -> bool:
        """Whether `name` has a value."""
        return any(one.name == name for one in self.samples)

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
class Counting:
    """How a connector counts what it moves to and from storage.

    tier: its name in vLLM's tier label ("<position>:<tier type>"); written, read: the direction in transfer_type, for
    one that has no tier; loaded: how the families begin that only a server with this connector has.
    """

    loaded: str
    tier: str = ""
    written: str = ""
    read: str = ""

    @property
    def counts_bytes(self) -> bool:
        return bool(self.tier or self.written)

    @property
    def counts_blocks(self) -> bool:
        return bool(self.tier)


_TIERING = "vllm:kv_offload_tiering_"
_OWN = "vllm:kv_offload_llmd_storage_"
CONNECTORS: dict[str, Counting] = {
    LLMD_STORAGE: Counting(_TIERING, tier=":llmd_storage"),
    "vllm-fs": Counting(_TIERING, tier=":fs"),
    "llmd-fs-backend": Counting("vllm:kv_offload_", written="GPU_to_SHARED_STORAGE", read="SHARED_STORAGE_to_GPU"),
    "lmcache": Counting("lmcache:"),
}


@dataclass(frozen=True, slots=True)
class Reading:
    """What the proof needs of one scrape. What a connector does not count is 0."""

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
    # By the own connector alone: blocks it did not have or not store, by its reasons; files it refused as damaged.
    misses: Mapping[str, float]
    refusals: Mapping[str, float]
    damaged: float
    active_writes: float
    usable: float  # the own connector's gauges: 1 or 0
    breaker_open: float
    writes_paused: float
    pauses: tuple[str, ...]  # the errors that storage refused writing with, ever
    connector_loaded: bool
    attributes_sources: bool  # vLLM says which tier a cached token came from

    @property
    def unawaited(self) -> float:
        """Blocks that the own connector did not wait for: computing was quicker, or storage missed its deadline."""
        return sum(self.misses.get(reason, 0.0) for reason in ("slower", "slow", "deadline"))


# Taken from the later of two scrapes: how things are, not how often.
_STATES = {
    "active_writes",
    "usable",
    "breaker_open",
    "writes_paused",
    "pauses",
    "connector_loaded",
    "attributes_sources",
}


def reading(metrics: Metrics, connector: str = LLMD_STORAGE) -> Reading:
    counting = CONNECTORS[connector]
    by_source, cached = "vllm:prompt_tokens_by_source_total", "vllm:prompt_tokens_cached_by_source_total"

    def of_tier(name: str) -> float:
        return metrics.total(f"{_TIERING}{name}", tier=counting.tier) if counting.tier else 0.0

    def moved(direction: str) -> float:
        return metrics.total("vllm:kv_offload_total_bytes", transfer_type=direction) + metrics.total(
            "vllm:kv_offload_total_bytes_total", transfer_type=direction
        )

    def own(name: str, **labels: str) -> float:
        return metrics.total(f"{_OWN}{name}", **labels)

    return Reading(
        prompt_tokens=metrics.total("vllm:prompt_tokens_total"),
        external_tokens=max(
            metrics.total(by_source, source="external_kv_transfer"),
            metrics.total("vllm:external_prefix_cache_hits_total"),
        ),
        local_tokens=metrics.total(by_source, source="local_cache_hit"),
        disk_tokens=metrics.total(cached, source="disk"),
        storage_queries=of_tier("chunk_queries_total"),
        storage_hits=of_tier("chunk_hits_total"),
        storage_read_bytes=moved(counting.read) if counting.read else of_tier("read_bytes_total"),
        storage_write_bytes=moved(counting.written) if counting.written else of_tier("write_bytes_total"),
        storage_read_failures=of_tier("promotion_job_failures_total"),
        storage_write_failures=of_tier("cascade_job_failures_total"),
        storage_stores_dropped=of_tier("backpressure_stores_dropped_total"),
        misses=metrics.by_label("reason", f"{_OWN}lookup_misses_total", f"{_OWN}load_failures_total"),
        refusals=metrics.by_label("reason", f"{_OWN}store_drops_total", f"{_OWN}store_failures_total"),
        damaged=own("corrupt_blocks_total"),
        active_writes=of_tier("active_cascade_jobs"),
        usable=own("usable") if metrics.shown(f"{_OWN}usable") else 1.0,
        breaker_open=own("breaker_open"),
        writes_paused=own("writes_paused"),
        pauses=tuple(metrics.by_label("reason", f"{_OWN}write_pauses_total")),
        connector_loaded=metrics.has(counting.loaded),
        attributes_sources=metrics.shown(cached),
    )


def delta(before: Reading, after: Reading) -> Reading:
    """What was counted in between. Gauges and flags are taken from `after`."""

    def grown(name: str) -> Any:
        then, now = getattr(before, name), getattr(after, name)
        if name in _STATES:
            return now
        if isinstance(now, Mapping):
            return {key: max(0.0, count - then.get(key, 0.0)) for key, count in now.items()}
        return max(0.0, now - then)

    return Reading(**{name: grown(name) for name in Reading.__slots__})

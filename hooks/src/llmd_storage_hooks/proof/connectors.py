# SPDX-License-Identifier: Apache-2.0
"""The connectors that the proof knows, and the metrics of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

LLMD_STORAGE = "llmd-storage"


@dataclass(frozen=True, slots=True)
class Counter:
    """A metric, and the labels of those of its series that count."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ConnectorMetrics:
    """How a connector counts what it moves to and from storage.

    tier: its name in vLLM's tier label ("<position>:<tier type>"); written, read: of one that has no tier, its
    counters of bytes; counted_every_s: how often it brings its counters up to date, 0 = at once; loaded: the prefix of
    metrics that only a server with this connector has.
    """

    loaded: str
    tier: str = ""
    written: tuple[Counter, ...] = ()
    read: tuple[Counter, ...] = ()
    counted_every_s: float = 0.0

    @property
    def counts_blocks(self) -> bool:
        """Blocks asked for and found."""
        return bool(self.tier)


# Prefixes of metrics: of vLLM's tiering, of connector llmd-storage, and of LMCache.
TIERING = "vllm:kv_offload_tiering_"
OWN = "vllm:kv_offload_llmd_storage_"
LMCACHE = "lmcache:"


def _transferred(direction: str) -> tuple[Counter, ...]:
    """vLLM's. Prometheus' client appends _total to a counter's name; the guide has it without."""
    names = ("vllm:kv_offload_total_bytes", "vllm:kv_offload_total_bytes_total")
    return tuple(Counter(name, {"transfer_type": direction}) for name in names)


CONNECTORS: dict[str, ConnectorMetrics] = {
    LLMD_STORAGE: ConnectorMetrics(TIERING, tier=":llmd_storage"),
    "vllm-fs": ConnectorMetrics(TIERING, tier=":fs"),
    "llmd-fs-backend": ConnectorMetrics(
        "vllm:kv_offload_",
        written=_transferred("GPU_to_SHARED_STORAGE"),
        read=_transferred("SHARED_STORAGE_to_GPU"),
    ),
    "lmcache": ConnectorMetrics(
        LMCACHE,
        written=(Counter(f"{LMCACHE}num_remote_write_bytes_total"),),
        read=(Counter(f"{LMCACHE}num_remote_read_bytes_total"),),
        counted_every_s=10.0,
    ),
}

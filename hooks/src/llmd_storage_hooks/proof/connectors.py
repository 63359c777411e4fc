# SPDX-License-Identifier: Apache-2.0
"""The connectors that the proof knows, and the metrics of each."""

from __future__ import annotations

from dataclasses import dataclass

LLMD_STORAGE = "llmd-storage"


@dataclass(frozen=True, slots=True)
class ConnectorMetrics:
    """How a connector counts what it moves to and from storage.

    tier: its name in vLLM's tier label ("<position>:<tier type>"); written, read: for one that has no tier the
    direction in transfer_type, or a counter of its own by its whole name; counted_every_s: how often it brings its
    counters up to date, 0 = at once; loaded: the prefix of metrics that only a server with this connector has.
    """

    loaded: str
    tier: str = ""
    written: str = ""
    read: str = ""
    counted_every_s: float = 0.0

    @property
    def counts_blocks(self) -> bool:
        """Blocks asked for and found."""
        return bool(self.tier)


# Prefixes of metrics: of vLLM's tiering, of connector llmd-storage, and of LMCache.
TIERING = "vllm:kv_offload_tiering_"
OWN = "vllm:kv_offload_llmd_storage_"
LMCACHE = "lmcache:"
CONNECTORS: dict[str, ConnectorMetrics] = {
    LLMD_STORAGE: ConnectorMetrics(TIERING, tier=":llmd_storage"),
    "vllm-fs": ConnectorMetrics(TIERING, tier=":fs"),
    "llmd-fs-backend": ConnectorMetrics(
        "vllm:kv_offload_", written="GPU_to_SHARED_STORAGE", read="SHARED_STORAGE_to_GPU"
    ),
    "lmcache": ConnectorMetrics(
        LMCACHE,
        written=f"{LMCACHE}num_remote_write_bytes_total",
        read=f"{LMCACHE}num_remote_read_bytes_total",
        counted_every_s=10.0,
    ),
}

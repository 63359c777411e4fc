# SPDX-License-Identifier: Apache-2.0
"""The connectors that the proof knows, and the metrics of each."""

from __future__ import annotations

from dataclasses import dataclass

LLMD_STORAGE = "llmd-storage"


@dataclass(frozen=True, slots=True)
class ConnectorMetrics:
    """How a connector counts what it moves to and from storage.

    tier: its name in vLLM's tier label ("<position>:<tier type>"); written, read: the direction in transfer_type, for
    one that has no tier; loaded: the prefix of metrics that only a server with this connector has.
    """

    loaded: str
    tier: str = ""
    written: str = ""
    read: str = ""

    @property
    def counts_bytes(self) -> bool:
        """Bytes to and from storage."""
        return bool(self.tier or self.written)

    @property
    def counts_blocks(self) -> bool:
        """Blocks asked for and found."""
        return bool(self.tier)


# Prefixes of metrics: of vLLM's tiering, and of connector llmd-storage.
TIERING = "vllm:kv_offload_tiering_"
OWN = "vllm:kv_offload_llmd_storage_"
CONNECTORS: dict[str, ConnectorMetrics] = {
    LLMD_STORAGE: ConnectorMetrics(TIERING, tier=":llmd_storage"),
    "vllm-fs": ConnectorMetrics(TIERING, tier=":fs"),
    "llmd-fs-backend": ConnectorMetrics(
        "vllm:kv_offload_", written="GPU_to_SHARED_STORAGE", read="SHARED_STORAGE_to_GPU"
    ),
    "lmcache": ConnectorMetrics("lmcache:"),
}

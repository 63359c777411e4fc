# SPDX-License-Identifier: Apache-2.0
"""The connectors that a proof can be made of, and the metrics that each of them has."""

from __future__ import annotations

from dataclasses import dataclass

LLMD_STORAGE = "llmd-storage"


@dataclass(frozen=True, slots=True)
class ConnectorMetrics:
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


# How the names of metrics begin: those of vLLM's tiering, and those of the project's own connector.
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

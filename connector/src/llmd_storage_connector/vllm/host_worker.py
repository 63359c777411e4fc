# SPDX-License-Identifier: Apache-2.0
"""The device's half on CPU, where the "device" is host memory: plain tensor copies.

vLLM's own worker needs an accelerator's streams. Used on the CPU platform only; elsewhere vLLM's is.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from vllm.v1.kv_offload.base import (
    CanonicalKVCaches,
    GPULoadStoreSpec,
    LoadStoreSpec,
    OffloadingWorker,
    TransferResult,
)
from vllm.v1.kv_offload.cpu.common import CPULoadStoreSpec
from vllm.v1.kv_offload.cpu.shared_offload_region import SharedOffloadRegion


class HostCopyWorker(OffloadingWorker):  # type: ignore[misc]  # vLLM is untyped here
    """Copies between the KV cache and the CPU tier's chunks, at once. Thread: the worker's.

    A chunk holds, per tensor, the pages of `blocks_per_chunk` vLLM blocks one after the other.
    """

    def __init__(self, kv_caches: CanonicalKVCaches, blocks_per_chunk: int, region: SharedOffloadRegion) -> None:
        self.region = region
        self._blocks_per_chunk = blocks_per_chunk
        self._references = kv_caches.group_data_refs
        self._device: list[torch.Tensor] = []
        self._host: list[torch.Tensor] = []
        for canonical in kv_caches.tensors:
            page = canonical.page_size_bytes
            chunks = region.create_next_worker_view(page * blocks_per_chunk)
            self._device.append(canonical.tensor)
            self._host.append(
                chunks.as_strided(
                    (chunks.shape[0], blocks_per_chunk, page), (chunks.stride(0), page, 1), chunks.storage_offset()
                )
            )
        self._finished: list[TransferResult] = []

    def submit_store(self, job_id: int, src_spec: GPULoadStoreSpec, dst_spec: LoadStoreSpec) -> bool:
        """KV cache -> chunks."""
        return self._transfer(job_id, src_spec, dst_spec, store=True)

    def submit_load(
        self, job_id: int, src_spec: LoadStoreSpec, dst_spec: GPULoadStoreSpec, expedited: bool = False
    ) -> bool:
        """Chunks -> KV cache. expedited (vLLM 0.33): its request runs in this step; every transfer is over at once."""
        return self._transfer(job_id, dst_spec, src_spec, store=False)

    def get_finished(self) -> list[TransferResult]:
        """Transfers since the last call."""
        finished, self._finished = self._finished, []
        return finished

    def wait(self, job_ids: set[int]) -> None:
        """Nothing to wait for: a transfer is over when its submission returns."""

    def shutdown(self) -> None:
        """Give the region back."""
        self._device.clear()
        self._host.clear()
        self.region.cleanup()

    def _transfer(self, job_id: int, device: GPULoadStoreSpec, host: LoadStoreSpec, *, store: bool) -> bool:
        started = time.perf_counter()
        assert isinstance(host, CPULoadStoreSpec)
        chunks = host.block_ids
        moved, block_at, chunk_at = 0, 0, 0
        for group, (count, first) in enumerate(zip(device.group_sizes, device.block_indices, strict=True)):
            if count == 0:
                continue
            # The first chunk may begin before the first block of this transfer.
            skip = first % self._blocks_per_chunk
            chunk_count = -(-(count + skip) // self._blocks_per_chunk)
            blocks = _index(device.block_ids[block_at : block_at + count])
            places = np.arange(skip, skip + count)
            chunk_of = _index(chunks[chunk_at : chunk_at + chunk_count][places // self._blocks_per_chunk])
            slot_of = _index(places % self._blocks_per_chunk)
            for reference in self._references[group]:
                cache, memory = self._device[reference.tensor_idx], self._host[reference.tensor_idx]
                if store:
                    memory[chunk_of, slot_of] = cache[blocks]
                else:
                    cache[blocks] = memory[chunk_of, slot_of]
                moved += count * reference.page_size_bytes
            block_at += count
            chunk_at += chunk_count
        self._finished.append(TransferResult(job_id, True, moved, time.perf_counter() - started))
        return True


def _index(ids: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(ids.astype(np.int64))

# SPDX-License-Identifier: Apache-2.0
"""vLLM's tiering spec with this project's tier: on GPU everything below the tier is vLLM's own."""

from __future__ import annotations

import atexit
import contextlib
import os

from vllm.platforms import current_platform
from vllm.v1.kv_offload.base import CanonicalKVCaches, OffloadingManager, OffloadingWorker
from vllm.v1.kv_offload.cpu.shared_offload_region import SharedOffloadRegion
from vllm.v1.kv_offload.tiering.factory import SecondaryTierFactory
from vllm.v1.kv_offload.tiering.spec import TieringOffloadingSpec

from llmd_storage_connector.vllm.host_worker import HostCopyWorker
from llmd_storage_connector.vllm.internals import disown, region_of, scheduler_region
from llmd_storage_connector.vllm.shared_memory import region_path, remove_orphans

TIER_TYPE = "llmd_storage"

# The tier gets a name of its own, also its label in vLLM's metrics. Registering twice is an error.
with contextlib.suppress(ValueError):
    SecondaryTierFactory.register_tier(TIER_TYPE, "llmd_storage_connector.vllm.tier", "LlmdStorageTier")


class LlmdStorageSpec(TieringOffloadingSpec):  # type: ignore[misc]  # vLLM is untyped here
    """TieringOffloadingSpec that also runs on CPU, and whose memory no kill can leak."""

    def get_manager(self) -> OffloadingManager:
        """The scheduler's half.

        vLLM makes it after every worker has mapped the region, so from here on the region's name is of no
        use: without it, the memory goes when the last process does, however that ends.

        Raises: RuntimeError when the name was gone before that: the workers' memory is then not the scheduler's.
        """
        path = region_path(self._engine_id)
        remove_orphans()
        try:
            manager: OffloadingManager = super().get_manager()
        finally:
            _unlink(path)
        region = scheduler_region(self)
        if region is not None and disown(region):
            manager.shutdown()
            raise RuntimeError(
                f"{path} was removed while the engine started, so its workers use other memory than its scheduler: "
                "let nothing clean /dev/shm, and give every engine container a /dev/shm of its own"
            )
        return manager

    def get_worker(self, kv_caches: CanonicalKVCaches) -> OffloadingWorker:
        """A worker's half: vLLM's own on accelerators, plain copies on CPU."""
        if self._worker is None:
            # Before vLLM checks whether /dev/shm has room for its own region.
            remove_orphans()
            if current_platform.is_cpu():
                self._worker: OffloadingWorker | None = self._host_worker(kv_caches)
                _leave_unlinking_to_scheduler(self._worker.region)
            else:
                _leave_unlinking_to_scheduler(region_of(super().get_worker(kv_caches)))
        return self._worker

    def _host_worker(self, kv_caches: CanonicalKVCaches) -> HostCopyWorker:
        region = SharedOffloadRegion(
            engine_id=self._engine_id,
            num_chunks=self.num_chunks,
            rank=0 if self.replicated_layout else self.config.parallel.rank,
            kv_bytes_per_chunk=self.kv_bytes_per_chunk,
            cpu_page_size=self.cpu_page_size_per_worker,
        )
        try:
            return HostCopyWorker(kv_caches, self.blocks_per_chunk, region)
        except Exception:
            region.cleanup()
            raise


def _leave_unlinking_to_scheduler(region: SharedOffloadRegion | None) -> None:
    """vLLM's creator unlinks at the end and complains when the name is gone already."""
    if region is not None and disown(region):
        # For a start that fails before the scheduler comes to it.
        atexit.register(_unlink, region.mmap_path)


def _unlink(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)

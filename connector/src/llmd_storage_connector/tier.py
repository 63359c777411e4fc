# SPDX-License-Identifier: Apache-2.0
"""The storage tier as vLLM sees it: translation between vLLM's calls and the engine, no policy of its own.

Every method here runs on vLLM's scheduler thread; none touches storage, none waits (drain_jobs and shutdown
do, bounded), none raises.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from vllm.distributed.kv_transfer.kv_connector.v1.offloading.metrics import OffloadingConnectorStats
from vllm.v1.kv_offload.base import (
    LookupResult,
    Medium,
    OffloadingCounterMetadata,
    OffloadingGaugeMetadata,
    OffloadingMetricMetadata,
    OffloadingSpec,
    OffloadKey,
    ReqContext,
    RequestOffloadingContext,
    ScheduleEndContext,
)
from vllm.v1.kv_offload.tiering.base import JobResult, SecondaryTierManager, TransferJob

from llmd_storage_connector.config import parse
from llmd_storage_connector.counters import METRICS, PREFIX, Counters
from llmd_storage_connector.engine import TransferEngine
from llmd_storage_connector.errors import Unusable
from llmd_storage_connector.format import BlockSpec
from llmd_storage_connector.identity import digest_of
from llmd_storage_connector.jobs import Kind
from llmd_storage_connector.ledger import Phase
from llmd_storage_connector.lookups import Answer
from llmd_storage_connector.store import BlockStore

logger = logging.getLogger("vllm.llmd_storage_connector.tier")

_ANSWERS = {
    Answer.HIT: LookupResult.HIT,
    Answer.MISS: LookupResult.MISS,
    Answer.ASK_AGAIN: LookupResult.RETRY,
}
_OPEN_TIMEOUT_S = 60.0
_SHUTDOWN_TIMEOUT_S = 5.0


class ViewRows:
    """Rows of vLLM's CPU tier. numpy copies without the interpreter lock."""

    def __init__(self, view: memoryview) -> None:
        self._rows = np.asarray(view)

    def copy_out(self, row: int, target: memoryview) -> None:
        """Row -> buffer."""
        np.copyto(np.frombuffer(target, dtype=np.int8), self._rows[row])

    def copy_in(self, row: int, source: memoryview) -> None:
        """Buffer -> row."""
        np.copyto(self._rows[row], np.frombuffer(source, dtype=np.int8))

    def release(self) -> None:
        """Let vLLM unmap the memory. Requires: no copy runs or will begin."""
        self._rows = np.empty((0, 0), dtype=np.int8)


class SharedStorageTier(SecondaryTierManager):  # type: ignore[misc]  # vLLM is untyped here
    """One per engine, in the scheduler's process."""

    medium: ClassVar[Medium] = Medium.STORAGE

    def __init__(
        self,
        *,
        offloading_spec: OffloadingSpec,
        primary_kv_view: memoryview,
        tier_type: str,
        settings: Mapping[str, Any],
        identity: Mapping[str, Any] | None = None,
        identity_fault: str = "",
        backpressure_detector: Any = None,
    ) -> None:
        """settings: as the operator wrote them. identity: facts of Identity, or the reason there are none.

        Raises: Unusable with fail_fast and a store that cannot be opened; nothing else.
        """
        super().__init__(offloading_spec, primary_kv_view, tier_type, backpressure_detector)
        config = parse(settings)
        # Without an identity nothing is ever opened, so this digest of nothing names no folder.
        facts = identity or {}
        parallel = offloading_spec.config.parallel
        spec = BlockSpec(digest_of(facts), self.block_size_bytes, parallel.world_size)
        self._label = (f"1:{tier_type}",)
        self._counters = Counters()
        self._shown: dict[str, int] = {}
        self._drain_timeout_s = max(config.load_deadline_s, config.store_deadline_s) + 1.0
        self._rows = ViewRows(primary_kv_view)
        store = BlockStore(Path(config.root_dir), facts, spec, config.publish)
        if identity is None:
            store = _NoStore(spec, identity_fault)
        self._engine = TransferEngine(store, self._rows, config, self._counters)
        self._engine.start()
        if config.fail_fast and self._engine.wait_open(_OPEN_TIMEOUT_S) is not Phase.READY:
            fault = self._engine.fault or Unusable(f"{config.root_dir} did not answer in {_OPEN_TIMEOUT_S:g} s")
            self.shutdown()
            raise fault
        logger.info(
            "KV cache storage: %s, namespace %s…, %d bytes a block, publish %s",
            config.root_dir,
            spec.identity.hex()[:16],
            self.block_size_bytes,
            config.publish,
        )

    def on_new_request(self, req_context: ReqContext) -> RequestOffloadingContext:
        """No wish for a request's blocks beyond vLLM's default."""
        return RequestOffloadingContext()

    def on_request_finished(self, req_context: ReqContext) -> None:
        """Forget what the request waited for."""
        self._engine.lookups.forget(req_context.req_id)

    def lookup(self, key: OffloadKey, req_context: ReqContext) -> LookupResult:
        """HIT, MISS, or RETRY until the answer or the request's deadline comes."""
        return _ANSWERS[self._engine.ask(req_context.req_id, bytes(key))]

    def on_schedule_end(self, context: ScheduleEndContext) -> None:
        """Send out the step's questions together."""
        self._engine.lookups.flush()

    def submit_load(self, job_metadata: TransferJob) -> None:
        """Queue a promotion."""
        job = job_metadata
        self._engine.submit_load(job.job_id, job.req_context.req_id, *_blocks(job))

    def submit_store(self, job_metadata: TransferJob) -> None:
        """Queue a cascade."""
        job = job_metadata
        self._engine.submit_store(job.job_id, job.req_context.req_id, *_blocks(job))

    def get_finished_jobs(self) -> Iterable[JobResult]:
        """Report ended jobs; the request whose load failed is not told "there" again."""
        results = []
        for result in self._engine.finished():
            if result.kind is Kind.LOAD and result.failed:
                self._engine.lookups.mark_missed(result.request_id, list(result.failed))
            kept = [OffloadKey(key) for key in result.succeeded]
            results.append(
                JobResult(
                    result.job_id,
                    success=result.success,
                    successful_keys=kept if result.kind is Kind.LOAD and result.failed else None,
                    transfer_time=result.seconds,
                    transfer_bytes=result.moved_bytes,
                )
            )
        return results

    def drain_jobs(self) -> None:
        """End every job; those past their deadline by force. Blocks up to the longest deadline."""
        if not self._engine.drain(self._drain_timeout_s):
            logger.warning("storage did not finish its transfers in time: they were given up")

    def get_stats(self) -> OffloadingConnectorStats | None:
        """Counts since the last call, for vLLM's metrics."""
        stats = OffloadingConnectorStats()
        for (name, detail), count in self._counters.take().items():
            stats.increase_counter(PREFIX + name, count, self._label + ((detail,) if detail else ()))
        gauges = {
            "usable": int(self._engine.phase is Phase.READY),
            "breaker_open": int(self._engine.breaker.is_open),
        }
        # vLLM keeps a gauge's last value: sent when it changes, so that most steps send nothing.
        for name, value in gauges.items():
            if self._shown.get(name) != value:
                stats.set_gauge(PREFIX + name, value, self._label)
        self._shown = gauges
        return stats

    @classmethod
    def build_metric_definitions(cls, extra_config: dict[str, Any]) -> dict[str, OffloadingMetricMetadata]:
        """What get_stats may name."""
        return {
            PREFIX + name: (OffloadingGaugeMetadata if metric.gauge else OffloadingCounterMetadata)(
                documentation=metric.doc,
                labelnames=("tier", metric.detail) if metric.detail else ("tier",),
            )
            for name, metric in METRICS.items()
        }

    def shutdown(self) -> None:
        """End all work and let go of vLLM's memory. Blocks up to a few seconds."""
        hanging = self._engine.close(_SHUTDOWN_TIMEOUT_S)
        if hanging:
            logger.warning("%d storage threads still hang in a system call; they hold no KV memory", hanging)
        self._rows.release()


class _NoStore(BlockStore):
    """Stands in when whose cache it would be is unknown: never opens, so nothing else is ever called."""

    def __init__(self, spec: BlockSpec, fault: str) -> None:
        super().__init__(Path("/"), {}, spec, "auto")
        self._fault = fault

    def open(self) -> None:
        raise Unusable(self._fault)


def _blocks(job: TransferJob) -> tuple[list[bytes], list[int]]:
    """Keys and rows, parallel to each other; vLLM may hand keys over as a set, whose order is its rows'."""
    return [bytes(key) for key in job.keys], [int(row) for row in job.chunk_ids]

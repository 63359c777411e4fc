# SPDX-License-Identifier: Apache-2.0
"""The storage tier as vLLM sees it: translation between vLLM's calls and the engine, no policy of its own.

Every method here runs on vLLM's scheduler thread, and since vLLM 0.33 also on the thread that serves other tiers'
peers, one call at a time; none touches storage, none waits (drain_jobs and shutdown do, bounded), none raises.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
from vllm.distributed.kv_transfer.kv_connector.v1.offloading.metrics import OffloadingConnectorStats
from vllm.v1.kv_offload.base import (
    LookupResult,
    Medium,
    OffloadingCounterMetadata,
    OffloadingEvent,
    OffloadingGaugeMetadata,
    OffloadingHistogramMetadata,
    OffloadingMetricMetadata,
    OffloadingSpec,
    OffloadKey,
    ReqContext,
    RequestOffloadingContext,
    ScheduleEndContext,
)
from vllm.v1.kv_offload.tiering.base import JobResult, SecondaryTierManager, TransferJob

from llmd_storage_connector.blocks import layout
from llmd_storage_connector.blocks.format import BlockSpec
from llmd_storage_connector.blocks.unidentified import UnidentifiedStore
from llmd_storage_connector.config import parse
from llmd_storage_connector.engine.engine import BYPASSED, RECEIVED, StorageEngine
from llmd_storage_connector.errors import ConnectorError, Unusable
from llmd_storage_connector.identity.digest_cache import DigestCache
from llmd_storage_connector.identity.facts import digest_of
from llmd_storage_connector.identity.fingerprint import Fingerprint, Weights
from llmd_storage_connector.lookup.service import LookupStatus
from llmd_storage_connector.telemetry.metrics import METRICS, PREFIX, Counters, Metric, MetricKind
from llmd_storage_connector.telemetry.rate_limited_log import RateLimitedLog
from llmd_storage_connector.transfer.scheduler import Phase
from llmd_storage_connector.transfer.tasks import Direction, FinishedJob
from llmd_storage_connector.vllm.bypass import EXPLANATIONS
from llmd_storage_connector.vllm.config_adapter import ANY_TP

logger = logging.getLogger("vllm.llmd_storage_connector.vllm.tier")

_STATUS = {
    LookupStatus.HIT: LookupResult.HIT,
    LookupStatus.MISS: LookupResult.MISS,
    LookupStatus.RETRY: LookupResult.RETRY,
}
# A request's kv_transfer_params may say so: it waits for storage also where computing would be quicker.
PATIENT = "llmd_storage_patient"
_OPEN_TIMEOUT_S = 60.0
# How long an engine's start waits for the weights to be read: in all, and without a byte.
_WEIGHTS_TIMEOUT_S = 300.0
_WEIGHTS_STALLED_S = 10.0
# Shorter than a lookup's deadline: until the first answer requests wait.
_WEIGHTS_WAIT_S = 1.0
_DRAIN_TIMEOUT_S = 5.0
_SHUTDOWN_TIMEOUT_S = 5.0


C = TypeVar("C", bound=type)


def one_call_at_a_time(tier: C) -> C:
    """Have every public method of the class hold its object's `_lock`.

    vLLM 0.33 holds its manager's lock for its own calls; the connector's come past that, and may not take it: within a
    scheduler's step its thread has it already, and it cannot be taken twice.
    """

    def alone(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            with self._lock:
                return method(self, *args, **kwargs)

        return call

    for name, method in list(vars(tier).items()):
        if inspect.isfunction(method) and not name.startswith("_"):
            setattr(tier, name, alone(method))
    return tier


class CpuTierChunks:
    """Chunks of vLLM's CPU tier: where each of them is."""

    def __init__(self, view: memoryview) -> None:
        """Requires: chunks x bytes of a chunk, in C order."""
        chunks = np.asarray(view)
        self._count, self._stride = len(chunks), chunks.strides[0]
        self._begin: int = chunks.__array_interface__["data"][0]

    def address(self, chunk: int) -> int:
        """See ChunkMemory. Requires: vLLM has not unmapped its memory, for whoever touches it."""
        if not 0 <= chunk < self._count:
            raise IndexError(f"the CPU tier has {self._count} chunks, none is number {chunk}")
        return self._begin + chunk * self._stride


@one_call_at_a_time
class LlmdStorageTier(SecondaryTierManager):  # type: ignore[misc]  # vLLM is untyped here
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
        weights: Mapping[str, Weights] | None = None,
        model_name: str = "",
        identity_fault: str = "",
        needs_full_prefix: bool = False,
        backpressure_detector: Any = None,
    ) -> None:
        """settings: as the operator wrote them. identity: facts of Identity but for the weights, which are read first,
        or the reason there are none. model_name: for the manifest. needs_full_prefix: whether every block is of full
        attention, so that a request can use one only with all before it.

        Blocks while the weights are read, as long as bytes come and up to _WEIGHTS_TIMEOUT_S.
        Raises: Unusable with fail_fast and a store that cannot be opened; nothing else.
        """
        super().__init__(offloading_spec, primary_kv_view, tier_type, backpressure_detector)
        self._lock = threading.RLock()
        config = parse(settings)
        # Known only in part: the store replaces the digest before it opens anything.
        facts = identity or {}
        # The format says whose parts a block is made of; a canonical one is a single part.
        canonical = facts.get("parallel", {}).get("tp") == ANY_TP
        ranks = 1 if canonical else offloading_spec.config.parallel.world_size
        spec = BlockSpec(digest_of(facts), self.block_size_bytes, ranks)
        self._label = (f"1:{tier_type}",)
        self._counters = Counters()
        self._counters.announce("bypassed_requests", EXPLANATIONS)
        self._shown: dict[tuple[str, str], int] = {}
        self._log = RateLimitedLog(logger)
        self._bypassed: set[str] = set()  # ids of requests
        self._only_reads = False
        # Nobody takes events that vLLM was not asked to publish.
        self._emits_events = bool(offloading_spec.kv_events_config.enable_kv_cache_events)
        self._chunks = CpuTierChunks(primary_kv_view)
        root = Path(config.root_dir)
        fingerprint = Fingerprint(weights or {}, DigestCache(root / layout.WEIGHTS))

        def identify() -> Mapping[str, Any]:
            if identity is None:
                raise Unusable(identity_fault)
            return {**identity, "weights": fingerprint.facts(_WEIGHTS_WAIT_S)}

        store = UnidentifiedStore(root, identify, spec, config.publish, model=model_name, direct_io=config.direct_io)
        group_tokens = set(offloading_spec.tokens_per_block)
        self._engine = StorageEngine(
            store,
            self._chunks,
            config,
            self._counters,
            # Blocks of groups with different lengths are no chain that could be searched by position.
            needs_full_prefix=needs_full_prefix and len(group_tokens) == 1,
            tokens_per_block=max(group_tokens) * offloading_spec.blocks_per_chunk,
        )
        # Who sees the engine ready may count on the cache, unless the weights' storage is slow or does not answer.
        stalled_s, limit_s = _WEIGHTS_STALLED_S, _WEIGHTS_TIMEOUT_S
        if config.fail_fast:
            stalled_s, limit_s = _OPEN_TIMEOUT_S, float("inf")
        if not fingerprint.wait(stalled_s=stalled_s, limit_s=limit_s):
            logger.warning("the weights are not read yet: the engine starts, and uses the cache when they are")
        self._engine.start()
        if config.fail_fast and self._engine.wait_open(_OPEN_TIMEOUT_S) is not Phase.READY:
            fault = self._engine.fault or Unusable(f"{config.root_dir} did not answer in {_OPEN_TIMEOUT_S:g} s")
            self.shutdown()
            raise fault
        logger.info(
            "KV cache storage: %s, %d bytes a block, publish %s",
            config.root_dir,
            self.block_size_bytes,
            config.publish,
        )

    def on_new_request(self, req_context: ReqContext) -> RequestOffloadingContext:
        """No wish for a request's blocks beyond vLLM's default."""
        if (req_context.kv_transfer_params or {}).get(PATIENT) is True:
            self._engine.be_patient(req_context.req_id)
        return RequestOffloadingContext()

    def bypass(self, request_id: str, reason: str) -> None:
        """Neither look for the request's blocks nor store any. reason: of bypass.EXPLANATIONS."""
        self._bypassed.add(request_id)
        self._counters.add("bypassed_requests", detail=reason)
        self._log.log(logging.WARNING, reason, "%s", EXPLANATIONS[reason])

    def retire(self, fault: ConnectorError) -> None:
        """Use storage no more."""
        self._engine.retire(fault)

    def only_read(self) -> None:
        """Store nothing from now on: another connector brought blocks, which nobody checked, and which others follow.

        Whoever computed them stores them.
        """
        if not self._only_reads:
            logger.info("another connector brought a prompt from elsewhere: from now on nothing is stored here")
        self._only_reads = True

    def on_request_finished(self, req_context: ReqContext) -> None:
        """Forget what the request waited for."""
        self._bypassed.discard(req_context.req_id)
        self._engine.forget(req_context.req_id)

    def lookup(self, key: OffloadKey, req_context: ReqContext) -> LookupResult:
        """HIT, MISS, or RETRY until the answer or the request's deadline comes."""
        if req_context.req_id in self._bypassed:
            return LookupResult.MISS
        return _STATUS[self._engine.lookup(req_context.req_id, bytes(key))]

    def is_waiting(self, request_id: str) -> bool:
        """Whether looking up the request's blocks again would change nothing yet."""
        return self._engine.is_waiting(request_id)

    def step_begun(self, requests: int) -> None:
        """A step of the engine computes for so many requests."""
        self._engine.step_begun(requests)

    def step_done(self, tokens: int, seconds: float) -> None:
        """A step of the engine took this long: what loading is measured against."""
        self._engine.step_done(tokens, seconds)

    def on_schedule_end(self, context: ScheduleEndContext) -> None:
        """Send out the step's lookups together."""
        self._engine.end_step()

    def submit_load(self, job_metadata: TransferJob) -> None:
        """Queue a promotion."""
        self._engine.submit_load(job_metadata.job_id, job_metadata.req_context.req_id, *_blocks(job_metadata))

    def submit_store(self, job_metadata: TransferJob) -> None:
        """Queue a cascade."""
        job = job_metadata
        request = job.req_context.req_id
        # vLLM was asked not to, and does so all the same for the last, unfinished block of recurrent layers.
        no_store = BYPASSED if request in self._bypassed else RECEIVED if self._only_reads else ""
        self._engine.submit_store(job.job_id, request, *_blocks(job), no_store=no_store)

    def get_finished_jobs(self) -> Iterable[JobResult]:
        """Report ended jobs."""
        return [_result(job, self.block_size_bytes) for job in self._engine.finished()]

    def drain_jobs(self) -> None:
        """End every job; those that storage does not finish soon, by force. Blocks up to _DRAIN_TIMEOUT_S.

        At a reset: nothing is computed meanwhile, so blocks that are not stored yet are not worth a minute.
        """
        if not self._engine.drain(_DRAIN_TIMEOUT_S):
            logger.warning("storage did not finish its transfers in %g s: they were cancelled", _DRAIN_TIMEOUT_S)

    def take_events(self) -> Iterable[OffloadingEvent]:
        """Blocks that this engine stored, or found gone or damaged, since the last call.

        What other engines do to the storage is theirs to tell, so a removal may be told without its store.
        """
        events = self._engine.take_events() if self._emits_events else ()
        # A list, not a generator, whose lines would run after the lock was given back.
        return [
            OffloadingEvent(keys=keys, medium=self.medium, removed=removed, locality=self.locality)
            for keys, removed in _runs(events)
        ]

    def get_stats(self) -> OffloadingConnectorStats | None:
        """What was counted and timed since the last call, and the gauges that changed, for vLLM's metrics."""
        stats = OffloadingConnectorStats()
        for (name, detail), count in self._counters.take().items():
            stats.increase_counter(PREFIX + name, count, self._labels(detail))
        for name, samples in self._counters.take_samples().items():
            for seconds in samples:
                stats.observe_histogram(PREFIX + name, seconds, self._label)
        # vLLM keeps a gauge's last value: sent when it changes, so that most steps send nothing.
        gauges = self._engine.gauges()
        for place in self._shown | gauges:
            value = gauges.get(place, 0)  # a publish strategy that is no longer used
            if self._shown.get(place) != value:
                stats.set_gauge(PREFIX + place[0], value, self._labels(place[1]))
        self._shown = gauges
        return stats

    def _labels(self, detail: str) -> tuple[str, ...]:
        return self._label + ((detail,) if detail else ())

    @classmethod
    def build_metric_definitions(cls, extra_config: dict[str, Any]) -> dict[str, OffloadingMetricMetadata]:
        """What get_stats may name."""
        return {PREFIX + name: _definition(metric) for name, metric in METRICS.items()}

    def shutdown(self) -> None:
        """End all work and let go of vLLM's memory. Blocks up to a few seconds."""
        hanging = self._engine.close(_SHUTDOWN_TIMEOUT_S)
        if hanging:
            logger.warning("%d storage threads still hang in a system call; they hold no KV memory", hanging)


def _result(job: FinishedJob, block_bytes: int) -> JobResult:
    """The end of a job in vLLM's words."""
    partly = job.direction is Direction.LOAD and not job.success
    return JobResult(
        job.job_id,
        success=job.success,
        successful_keys=[OffloadKey(key) for key in job.succeeded] if partly else None,
        transfer_time=job.seconds,
        transfer_bytes=len(job.moved) * block_bytes,
    )


def _runs(events: Iterable[tuple[bytes, bool]]) -> Iterator[tuple[list[OffloadKey], bool]]:
    """Events of one kind in a row, together: their keys, and whether they are removals."""
    for removed, run in itertools.groupby(events, key=lambda event: event[1]):
        yield [OffloadKey(key) for key, _ in run], removed


def _definition(metric: Metric) -> OffloadingMetricMetadata:
    """The metric in vLLM's words."""
    labels = ("tier", metric.detail) if metric.detail else ("tier",)
    if metric.kind is MetricKind.HISTOGRAM:
        return OffloadingHistogramMetadata(documentation=metric.doc, labelnames=labels, buckets=metric.buckets)
    kind = OffloadingGaugeMetadata if metric.kind is MetricKind.GAUGE else OffloadingCounterMetadata
    return kind(documentation=metric.doc, labelnames=labels)


def _blocks(job: TransferJob) -> tuple[list[bytes], list[int]]:
    """Keys and chunks, parallel to each other, in the order of their prefix.

    vLLM may hand keys over as a set, whose order is its chunks'. Where not all can be stored the last ones are left
    out: a hole in a prefix would make all behind it useless.
    """
    position = job.req_context.get_offload_key_position
    blocks = [(position(key), bytes(key), int(chunk)) for key, chunk in zip(job.keys, job.chunk_ids, strict=True)]
    blocks.sort(key=lambda block: float("inf") if block[0] is None else block[0])
    return [key for _, key, _ in blocks], [chunk for _, _, chunk in blocks]

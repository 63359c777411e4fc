# SPDX-License-Identifier: Apache-2.0
"""What vLLM is told: metrics it accepts, events for its routers, and bytes in the right place.

No engine is started: vLLM's own types and checks, and a stand-in for the transfer engine behind the tier.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import prometheus_client
import pytest

pytest.importorskip("vllm", reason="needs the engine environment")

from vllm.config import KVTransferConfig
from vllm.distributed.kv_transfer.kv_connector.factory import KVConnectorFactory
from vllm.distributed.kv_transfer.kv_connector.v1.offloading.metrics import OffloadingConnectorStats
from vllm.distributed.kv_transfer.kv_connector.v1.offloading_connector import (
    OffloadingConnector as VllmOffloadingConnector,
)
from vllm.v1.kv_offload.base import (
    LookupResult,
    Medium,
    OffloadingHistogramMetadata,
    OffloadingKVEventsConfig,
    ReqContext,
    make_offload_key,
)
from vllm.v1.kv_offload.tiering.base import SecondaryTierManager, TransferJob
from vllm.v1.outputs import KVConnectorOutput

from llmd_storage_connector.errors import Misconfigured
from llmd_storage_connector.lookup.service import LookupStatus
from llmd_storage_connector.telemetry.metrics import METRICS, PREFIX, MetricKind
from llmd_storage_connector.transfer.scheduler import Phase
from llmd_storage_connector.vllm import spec as spec_module
from llmd_storage_connector.vllm import tier as tier_module
from llmd_storage_connector.vllm.connector import LlmdStorageConnector
from llmd_storage_connector.vllm.spec import LlmdStorageSpec
from llmd_storage_connector.vllm.tier import CpuTierChunks, LlmdStorageTier

pytestmark = pytest.mark.engine

CHUNKS, CHUNK_BYTES = 4, 4096
LABEL = "1:llmd_storage"
BLOCK_TOKENS, BLOCKS_A_FILE = 32, 4


class StandIn:
    """Stands for StorageEngine: says what a test wants, and remembers what it was asked."""

    def __init__(self, store: Any, chunks: Any, config: Any, counters: Any, **given: Any) -> None:
        self.counters = counters
        self.given = given
        self.phase = Phase.READY
        self.shown = dict.fromkeys(
            ((name, "") for name in ("usable", "breaker_open", "writes_paused", "budget_exhausted", "queued_bytes")), 0
        )
        self.fault = None
        self.events: list[tuple[bytes, bool]] = []
        self.asked: list[tuple[str, bytes]] = []
        self.answer = LookupStatus.HIT
        self.stored: list[tuple[int, list[bytes], list[int], str]] = []
        self.patient: list[str] = []

    def start(self) -> None: ...

    def gauges(self) -> dict[tuple[str, str], int]:
        return dict(self.shown)

    def lookup(self, request_id: str, key: bytes) -> LookupStatus:
        self.asked.append((request_id, key))
        return self.answer

    def submit_store(
        self, job_id: int, request_id: str, keys: list[bytes], chunks: list[int], no_store: str = ""
    ) -> None:
        self.stored.append((job_id, keys, chunks, no_store))

    def be_patient(self, request_id: str) -> None:
        self.patient.append(request_id)

    def forget(self, request_id: str) -> None: ...

    def take_events(self) -> list[tuple[bytes, bool]]:
        events, self.events = self.events, []
        return events

    def close(self, timeout_s: float) -> int:
        return 0


def engine_of(tier: LlmdStorageTier) -> StandIn:
    return tier._engine


@pytest.fixture
def make_tier(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., LlmdStorageTier]:
    """make_tier(events=, tokens_per_block=, **tier arguments)."""
    monkeypatch.setattr(tier_module, "StorageEngine", StandIn)

    def make(events: bool = True, tokens_per_block: tuple[int, ...] = (BLOCK_TOKENS,), **given: Any) -> LlmdStorageTier:
        offloading_spec = SimpleNamespace(
            config=SimpleNamespace(parallel=SimpleNamespace(world_size=1)),
            kv_events_config=OffloadingKVEventsConfig(enable_kv_cache_events=events, self_describing_kv_events=False),
            tokens_per_block=tokens_per_block,
            blocks_per_chunk=BLOCKS_A_FILE,
        )
        return LlmdStorageTier(
            offloading_spec=offloading_spec,
            primary_kv_view=memoryview(np.zeros((CHUNKS, CHUNK_BYTES), dtype=np.int8)),
            tier_type="llmd_storage",
            settings={"root_dir": str(tmp_path), "cpu_bytes_to_use": CHUNKS * CHUNK_BYTES},
            identity={"runner": "test"},
            **given,
        )

    return make


@pytest.fixture
def tier(make_tier: Callable[..., LlmdStorageTier]) -> LlmdStorageTier:
    return make_tier()


def key(number: int, group: int = 0) -> bytes:
    return make_offload_key(bytes([number]) * 32, group)


def values(stats: OffloadingConnectorStats) -> dict[str, Any]:
    """{name or name{detail}: value} without prefix and tier label, as the stats carry them to the API server."""
    shown = {}
    for name, by_labels in stats._values.items():
        for labels, value in by_labels.items():
            assert labels[0] == LABEL
            shown[name.removeprefix(PREFIX) + (f"{{{labels[1]}}}" if labels[1:] else "")] = value
    return shown


# ---- jobs --------------------------------------------------------------------------------------------


def test_blocks_of_a_job_come_in_the_order_of_their_prefix(tier: LlmdStorageTier) -> None:
    """What finds no room is dropped from the end: a hole would make all behind it useless."""
    context = ReqContext("one")
    for number in range(8):
        context.set_offload_key_position(key(number), (number + 1) * BLOCK_TOKENS)
    keys = frozenset(key(number) for number in range(8))
    chunks = np.array([one[0] for one in keys], dtype=np.int32)  # each block's chunk has its number
    tier.submit_store(TransferJob(7, keys, chunks, False, context))
    assert engine_of(tier).stored == [(7, [key(number) for number in range(8)], list(range(8)), "")]


def test_nothing_of_a_request_that_is_kept_out_is_stored_or_found(tier: LlmdStorageTier) -> None:
    """vLLM stores the unfinished last block of recurrent layers even where it was told to offload nothing."""
    context = ReqContext("one")
    tier.bypass("one", "adapter")
    assert tier.lookup(key(1), context) is LookupResult.MISS
    tier.submit_store(TransferJob(7, [key(1)], np.array([0], dtype=np.int32), False, context))
    assert [no_store for *_, no_store in engine_of(tier).stored] == ["bypassed"]
    tier.on_request_finished(context)
    assert tier.lookup(key(1), context) is LookupResult.HIT, "another request of that name is another request"


def test_an_engine_that_was_given_blocks_reads_and_stores_nothing(tier: LlmdStorageTier) -> None:
    """Nobody checked them, and what is computed after them is as wrong as they may be."""
    job = TransferJob(7, [key(1)], np.array([0], dtype=np.int32), False, ReqContext("one"))
    tier.submit_store(job)
    tier.only_read()
    tier.submit_store(job)
    assert [no_store for *_, no_store in engine_of(tier).stored] == ["", "received"]
    assert tier.lookup(key(1), ReqContext("two")) is LookupResult.HIT


@pytest.fixture
def connector(monkeypatch: pytest.MonkeyPatch, tier: LlmdStorageTier) -> LlmdStorageConnector:
    """Its scheduler's half, without vLLM's."""
    for name in ("update_state_after_alloc", "update_connector_output"):
        monkeypatch.setattr(VllmOffloadingConnector, name, lambda *_: None)
    connector = object.__new__(LlmdStorageConnector)
    connector._tiers, connector._loading = [tier], set()
    monkeypatch.setattr(connector, "_heed_weight_change", lambda: None)
    return connector


@pytest.mark.parametrize(("external", "stores"), [(64, True), (0, False)])
def test_blocks_are_given_by_another_connector_if_this_one_does_not_load_them(
    connector: LlmdStorageConnector, tier: LlmdStorageTier, external: int, stores: bool
) -> None:
    connector.update_state_after_alloc(SimpleNamespace(request_id="one"), None, external)
    connector.update_connector_output(KVConnectorOutput(finished_recving=None))
    connector.update_connector_output(KVConnectorOutput(finished_recving={"one"}))
    tier.submit_store(TransferJob(7, [key(1)], np.array([0], dtype=np.int32), False, ReqContext("two")))
    assert [no_store for *_, no_store in engine_of(tier).stored] == ["" if stores else "received"]
    assert not connector._loading


def test_a_request_that_says_so_waits_for_storage(tier: LlmdStorageTier) -> None:
    tier.on_new_request(ReqContext("one", kv_transfer_params={"llmd_storage_patient": True}))
    tier.on_new_request(ReqContext("two", kv_transfer_params={"llmd_storage_patient": "yes"}))
    tier.on_new_request(ReqContext("three"))
    assert engine_of(tier).patient == ["one"]


# ---- metrics -----------------------------------------------------------------------------------------


def test_each_gauge_is_sent_when_it_changes_and_only_then(tier: LlmdStorageTier) -> None:
    shown = engine_of(tier).shown
    shown["usable", ""] = 1
    assert values(tier.get_stats()) == {
        "usable": 1,
        "breaker_open": 0,
        "writes_paused": 0,
        "budget_exhausted": 0,
        "queued_bytes": 0,
        # Counts whose first must be seen as a change.
        **{f"bypassed_requests{{{reason}}}": 0 for reason in ("adapter", "media", "session")},
    }
    assert values(tier.get_stats()) == {}
    shown |= {("publish_strategy", "link"): 1, ("queued_bytes", ""): 8192, ("writes_paused", ""): 1}
    assert values(tier.get_stats()) == {"publish_strategy{link}": 1, "queued_bytes": 8192, "writes_paused": 1}
    shown |= {("usable", ""): 0, ("breaker_open", ""): 1, ("writes_paused", ""): 0}
    assert values(tier.get_stats()) == {"usable": 0, "breaker_open": 1, "writes_paused": 0}


def test_of_two_publish_strategies_only_the_one_in_use_is_shown(tier: LlmdStorageTier) -> None:
    shown = engine_of(tier).shown
    shown["publish_strategy", "link"] = 1
    tier.get_stats()
    del shown["publish_strategy", "link"]
    shown["publish_strategy", "rename"] = 1
    assert values(tier.get_stats()) == {"publish_strategy{link}": 0, "publish_strategy{rename}": 1}
    assert values(tier.get_stats()) == {}


def test_counts_and_samples_are_sent_once(tier: LlmdStorageTier) -> None:
    tier.get_stats()
    counters = engine_of(tier).counters
    counters.add("write_pauses", detail="enospc")
    counters.add("removed_temp_files", 3)
    counters.observe("load_seconds", 0.25)
    counters.observe("load_seconds", 4.0)
    assert values(tier.get_stats()) == {"write_pauses{enospc}": 1, "removed_temp_files": 3, "load_seconds": [0.25, 4.0]}
    assert tier.get_stats().is_empty()


def test_every_metric_is_declared_as_vllm_wants_it_and_can_be_sent(tier: LlmdStorageTier) -> None:
    definitions = LlmdStorageTier.build_metric_definitions({})
    assert set(definitions) == {PREFIX + name for name in METRICS}
    engine = engine_of(tier)
    engine.shown |= {("publish_strategy", "link"): 1, ("data_path", "native"): 1}
    for name, metric in METRICS.items():
        if metric.kind is MetricKind.COUNTER:
            engine.counters.add(name, detail="x" if metric.detail else "")
        elif metric.kind is MetricKind.HISTOGRAM:
            engine.counters.observe(name, 1.0)
    sent = tier.get_stats()
    assert set(sent._values) == set(definitions), "declared, but never sent; or the other way round"
    for name, by_labels in sent._values.items():
        definition = definitions[name]
        assert all(len(labels) == len(definition.labelnames) for labels in by_labels), name
        # prometheus_client refuses bad names, labels and buckets.
        registry = prometheus_client.CollectorRegistry()
        if isinstance(definition, OffloadingHistogramMetadata):
            prometheus_client.Histogram(
                name, definition.documentation, definition.labelnames, buckets=definition.buckets, registry=registry
            )
        else:
            prometheus_client.Counter(name, definition.documentation, definition.labelnames, registry=registry)


# ---- events ------------------------------------------------------------------------------------------


def test_stored_and_removed_blocks_are_told_in_their_order(tier: LlmdStorageTier) -> None:
    engine_of(tier).events = [(key(1), False), (key(2), False), (key(1), True), (key(3), False)]
    told = list(tier.take_events())
    assert [(event.keys, event.removed) for event in told] == [
        ([key(1), key(2)], False),
        ([key(1)], True),
        ([key(3)], False),
    ]
    assert {event.medium for event in told} == {Medium.STORAGE}
    assert list(tier.take_events()) == []


def test_without_kv_events_none_are_told(make_tier: Callable[..., LlmdStorageTier]) -> None:
    tier = make_tier(events=False)
    engine_of(tier).events = [(key(1), False)]
    assert list(tier.take_events()) == []


# ---- lookups -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (LookupStatus.HIT, LookupResult.HIT),
        (LookupStatus.MISS, LookupResult.MISS),
        (LookupStatus.RETRY, LookupResult.RETRY),
    ],
)
def test_a_lookup_is_passed_on_and_its_answer_back(
    tier: LlmdStorageTier, answer: LookupStatus, told: LookupResult
) -> None:
    engine_of(tier).answer = answer
    assert tier.lookup(key(1), ReqContext(req_id="r")) is told
    assert engine_of(tier).asked == [("r", key(1))]


@pytest.mark.parametrize(
    ("needs_full_prefix", "tokens", "expected"),
    [
        (True, (32,), {"needs_full_prefix": True, "tokens_per_block": 128}),
        (True, (32, 32), {"needs_full_prefix": True, "tokens_per_block": 128}),
        (False, (32,), {"needs_full_prefix": False, "tokens_per_block": 128}),
        (True, (16, 64), {"needs_full_prefix": False, "tokens_per_block": 256}),
    ],
)
def test_a_prefix_is_searched_only_where_blocks_are_chains_of_one_length(
    make_tier: Callable[..., LlmdStorageTier],
    needs_full_prefix: bool,
    tokens: tuple[int, ...],
    expected: dict[str, Any],
) -> None:
    assert engine_of(make_tier(needs_full_prefix=needs_full_prefix, tokens_per_block=tokens)).given == expected


def test_no_tier_searches_prefixes_unless_it_is_told_that_it_may(
    make_tier: Callable[..., LlmdStorageTier],
) -> None:
    assert engine_of(make_tier()).given["needs_full_prefix"] is False


# ---- rows --------------------------------------------------------------------------------------------


def numbered() -> np.ndarray:
    return np.arange(CHUNKS * CHUNK_BYTES, dtype=np.int64).astype(np.int8).reshape(CHUNKS, CHUNK_BYTES)


def test_chunks_are_where_vllm_has_them() -> None:
    memory = numbered()
    chunks = CpuTierChunks(memoryview(memory))
    for chunk in range(CHUNKS):
        assert ctypes.string_at(chunks.address(chunk), CHUNK_BYTES) == memory[chunk].tobytes()


@pytest.mark.parametrize("chunk", [-1, CHUNKS])
def test_there_are_no_others(chunk: int) -> None:
    with pytest.raises(IndexError, match=f"has {CHUNKS} chunks"):
        CpuTierChunks(memoryview(numbered())).address(chunk)


def test_vllm_can_always_unmap_its_memory() -> None:
    """Also while a thread hangs in a system call."""
    memory = bytearray(CHUNKS * CHUNK_BYTES)
    chunks = CpuTierChunks(memoryview(memory).cast("b", (CHUNKS, CHUNK_BYTES)))
    memory.extend(b"x")
    assert chunks.address(0)


def test_it_is_a_tier_with_all_that_vllm_asks_of_one() -> None:
    assert issubclass(LlmdStorageTier, SecondaryTierManager)
    assert not LlmdStorageTier.__abstractmethods__


# ---- memory ------------------------------------------------------------------------------------------


class FakeSpec(LlmdStorageSpec):
    """A spec without a configuration: only what get_manager uses of it."""

    def __init__(self, engine_id: str, scheduler_created: bool) -> None:
        self._engine_id = engine_id
        self._scheduler_mmap = SimpleNamespace(_creator=scheduler_created)


@pytest.mark.parametrize("scheduler_created", [False, True])
def test_workers_and_scheduler_never_work_on_different_memory(
    monkeypatch: pytest.MonkeyPatch, scheduler_created: bool
) -> None:
    """Someone cleaned /dev/shm during the start: the scheduler made a new region, and would store zeros."""
    closed = []
    manager = SimpleNamespace(shutdown=lambda: closed.append(True))
    swept = []
    monkeypatch.setattr(spec_module.TieringOffloadingSpec, "get_manager", lambda self: manager)
    monkeypatch.setattr(spec_module, "remove_orphans", lambda: swept.append(True))
    spec = FakeSpec("test-tier-no-such-region", scheduler_created)
    if scheduler_created:
        with pytest.raises(RuntimeError, match="removed while the engine started"):
            spec.get_manager()
        assert closed == [True]
    else:
        assert spec.get_manager() is manager
        assert closed == []
    assert swept == [True]


def test_vllms_own_connector_cannot_take_this_ones_place_unseen() -> None:
    """--kv-offloading-size makes vLLM look for its own connector's name in our module, and serve without the tier."""
    config = KVTransferConfig(
        kv_connector="OffloadingConnector",
        kv_connector_module_path="llmd_storage_connector.vllm.connector",
        kv_role="kv_both",
    )
    with pytest.raises(Misconfigured, match="--kv-offloading-size puts vLLM's own connector in the place"):
        KVConnectorFactory.get_connector_class(config)
    config.kv_connector = "LlmdStorageConnector"
    assert KVConnectorFactory.get_connector_class(config).__name__ == "LlmdStorageConnector"


def test_calls_of_other_threads_wait(make_tier: Callable[..., LlmdStorageTier]) -> None:
    """vLLM 0.33 serves other tiers' peers from a thread of its own, which may ask this tier too."""
    tier = make_tier()
    called: list[str] = []

    class Engine:
        def __getattr__(self, name: str) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                called.append(name)
                assert tier._lock._is_owned(), f"{name} is called while others may call"
                return {"lookup": LookupStatus.HIT, "gauges": {}}.get(name, [])

            return call

    tier._engine = Engine()
    request = ReqContext("one")
    job = TransferJob(1, [make_offload_key(b"k", 0)], np.array([0], dtype=np.int32), False, request)
    tier.on_new_request(ReqContext("patient", kv_transfer_params={"llmd_storage_patient": True}))
    tier.lookup(make_offload_key(b"k", 0), request)
    tier.is_waiting("one")
    tier.step_begun(1)
    tier.step_done(1, 0.1)
    tier.on_schedule_end(SimpleNamespace())
    tier.submit_load(job)
    tier.submit_store(job)
    tier.get_finished_jobs()
    list(tier.take_events())
    tier.get_stats()
    tier.on_request_finished(request)
    tier.drain_jobs()
    tier.retire(Misconfigured("no more"))
    tier.shutdown()
    assert len(set(called)) == 15, called

# SPDX-License-Identifier: Apache-2.0
"""The parts of one engine's storage tier, and how they are put together. Nothing is started here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from llmd_storage_connector.blocks.crew import Crew
from llmd_storage_connector.blocks.mount_probe import Mount
from llmd_storage_connector.blocks.page_cache import WrittenFiles
from llmd_storage_connector.blocks.result import BlockResult
from llmd_storage_connector.blocks.temp_files import TempFileCollector
from llmd_storage_connector.config import Config
from llmd_storage_connector.engine.recorder import Recorder
from llmd_storage_connector.eviction.budget_client import BudgetClient
from llmd_storage_connector.eviction.invalidation_feed import InvalidationFeed
from llmd_storage_connector.eviction.write_budget import WriteBudget
from llmd_storage_connector.health.breaker import Breaker
from llmd_storage_connector.health.write_backoff import WriteBackoff
from llmd_storage_connector.lookup.cache import LookupCache
from llmd_storage_connector.lookup.pool import Blocks, LookupPool
from llmd_storage_connector.lookup.service import LookupService
from llmd_storage_connector.telemetry.metrics import Counters
from llmd_storage_connector.transfer.cost_model import CostModel
from llmd_storage_connector.transfer.queue import TaskQueue
from llmd_storage_connector.transfer.scheduler import Phase, TransferScheduler
from llmd_storage_connector.transfer.task_runner import ChunkMemory, Store, TaskRunner


class Storage(Store, Blocks, Protocol):
    """What an engine needs of a block store (blocks.store.BlockStore); every method may hang."""

    refresh_after_s: float

    @property
    def folder(self) -> str: ...
    @property
    def publish_strategy(self) -> str: ...
    @property
    def mount(self) -> Mount: ...
    def path(self, key: bytes) -> str: ...
    def open(self) -> None: ...
    def refresh_mtime(self, key: bytes) -> None: ...
    def try_writing(self) -> BlockResult: ...
    def is_healthy(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Parts:
    """Each guards itself, and knows only the parts above it in this list."""

    store: Storage
    config: Config
    counters: Counters
    clock: Callable[[], float]
    cost: CostModel
    cache: LookupCache
    breaker: Breaker
    backoff: WriteBackoff
    budget: WriteBudget
    scheduler: TransferScheduler
    runner: TaskRunner
    crew: Crew
    pool: LookupPool
    lookups: LookupService
    recorder: Recorder
    feed: InvalidationFeed
    budget_client: BudgetClient
    temp_files: TempFileCollector
    written: WrittenFiles

    @property
    def in_use(self) -> bool:
        """Whether storage is used now."""
        return self.scheduler.phase is Phase.READY and not self.breaker.is_open

    @property
    def queued_file_bytes(self) -> int:
        """Bytes of files that wait to be written, or are being written."""
        return self.scheduler.queue.queued_bytes // self.store.spec.payload_bytes * self.store.spec.file_bytes


def assemble(
    store: Storage,
    chunks: ChunkMemory,
    config: Config,
    counters: Counters,
    *,
    needs_full_prefix: bool,
    tokens_per_block: int,
    clock: Callable[[], float],
) -> Parts:
    """needs_full_prefix: whether a block is of use only with all blocks before it. tokens_per_block: 0: not known."""
    cost = CostModel(tokens_per_block, config.skip_slow_loads)
    cache = LookupCache()
    breaker = Breaker(config.effective_lookup_deadline_s, clock)
    budget = WriteBudget(clock)
    crew = store.data_path.new_crew()
    scheduler = TransferScheduler(
        TaskQueue(store.spec.payload_bytes, config.effective_store_queue_bytes, config.io_threads),
        chunk_bytes=store.spec.payload_bytes,
        file_bytes=store.spec.file_bytes,
        budget=budget,
        clock=clock,
        tell=crew.tell,
    )
    pool = LookupPool(
        store,
        cache,
        breaker,
        deadline_s=config.effective_lookup_deadline_s,
        threads=config.lookup_threads,
        needs_full_prefix=needs_full_prefix,
        clock=clock,
    )
    lookups = LookupService(
        pool,
        cache,
        breaker,
        cost,
        counters,
        deadline_s=config.effective_lookup_deadline_s,
        adaptive=config.has_adaptive_lookups,
        clock=clock,
    )
    return Parts(
        store=store,
        config=config,
        counters=counters,
        clock=clock,
        cost=cost,
        cache=cache,
        breaker=breaker,
        backoff=WriteBackoff(clock),
        budget=budget,
        scheduler=scheduler,
        runner=TaskRunner(store, chunks, budget),
        crew=crew,
        pool=pool,
        lookups=lookups,
        recorder=Recorder(counters, cache, store.spec.payload_bytes, clock),
        feed=InvalidationFeed(clock),
        budget_client=BudgetClient(budget, clock),
        temp_files=TempFileCollector(),
        written=WrittenFiles(clock),
    )

"""The two tiers that are compared, behind one face, called as vLLM's scheduler calls them."""

from __future__ import annotations

import hashlib
import resource
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from vllm.v1.kv_offload.base import LookupResult, OffloadingSpec, ReqContext, ScheduleEndContext, make_offload_key
from vllm.v1.kv_offload.config import (
    OffloadingCacheConfig,
    OffloadingConfig,
    OffloadingGroupConfig,
    OffloadingModelConfig,
    OffloadingParallelConfig,
)
from vllm.v1.kv_offload.tiering.base import SecondaryTierManager, TransferJob

from tests.bench.region import Region

# vLLM's engine sleeps this long between empty steps.
STEP_S = 0.001
TOKENS = 16
_STEP_END = ScheduleEndContext(new_req_ids=(), preempted_req_ids=())


class Spec(OffloadingSpec):  # type: ignore[misc]
    """The least that a tier asks of vLLM's spec."""

    def __init__(self, row_bytes: int) -> None:
        parallel = OffloadingParallelConfig(
            rank=0,
            world_size=1,
            tp_size=1,
            pp_size=1,
            pcp_size=1,
            dcp_size=1,
            data_parallel_index=0,
            data_parallel_size=1,
            data_parallel_rank_local=None,
            is_parallelism_agnostic=True,
        )
        super().__init__(
            OffloadingConfig(
                groups=(OffloadingGroupConfig(tokens_per_block=TOKENS, layer_names=("l0",), group_id=0),),
                worker_kv_bytes_per_block=row_bytes,
                enable_kv_cache_events=False,
                extra_config={},
                engine_id="bench",
                model=OffloadingModelConfig(name="bench", dtype="bfloat16"),
                cache=OffloadingCacheConfig(tokens_per_hash=TOKENS, blocks_per_chunk=1),
                parallel=parallel,
            )
        )

    def get_manager(self) -> Any:
        raise NotImplementedError

    def get_worker(self, kv_caches: Any) -> Any:
        raise NotImplementedError


def stock(region: Region, root: str, settings: dict[str, Any]) -> SecondaryTierManager:
    """vLLM's own tier, as shipped."""
    from vllm.v1.kv_offload.tiering.fs.manager import FileSystemTierManager

    return FileSystemTierManager(Spec(region.row_bytes), region.view, "fs", root, **settings)


def ours(region: Region, root: str, settings: dict[str, Any]) -> SecondaryTierManager:
    """This project's tier, as shipped; but nothing is given up or dropped, so that all of it is measured."""
    from llmd_storage_connector.config import json_schema
    from llmd_storage_connector.vllm.tier import LlmdStorageTier

    patient = {
        "lookup_deadline_s": 300,
        "load_deadline_s": 600,
        "store_deadline_s": 600,
        "store_queue_bytes": 4 * region.rows * region.row_bytes,
        "skip_slow_loads": False,
    }
    known = json_schema()["properties"]
    basics = {"root_dir": root, "cpu_bytes_to_use": region.rows * region.row_bytes, "fail_fast": True}
    settings = basics | {name: value for name, value in patient.items() if name in known} | settings
    return LlmdStorageTier(
        offloading_spec=Spec(region.row_bytes),
        primary_kv_view=region.view,
        tier_type="llmd_storage",
        settings=settings,
        identity={"bench": region.row_bytes},
        needs_full_prefix=True,
    )


SIDES: dict[str, Callable[[Region, str, dict[str, Any]], SecondaryTierManager]] = {"ours": ours, "stock": stock}


def key(seed: int, index: int) -> bytes:
    """As vLLM makes them: a hash and a group."""
    return make_offload_key(hashlib.sha256(f"{seed}/{index}".encode()).digest(), 0)


class Driver:
    """A tier over a region, and the calls of a scheduler that has nothing else to do."""

    def __init__(self, side: str, region: Region, root: str, settings: dict[str, Any]) -> None:
        began = time.perf_counter()
        self.region = region
        self.tier = SIDES[side](region, root, settings)
        self.opened_s = time.perf_counter() - began
        self._job = 0
        self._request = 0

    def submit(self, seed: int, *, load: bool, jobs: int) -> set[int]:
        """Have all rows loaded or stored in `jobs` jobs. Returns: their numbers."""
        rows = self.region.rows
        keys = [key(seed, index) for index in range(rows)]
        context = self._context([])
        submitted = set()
        for part in np.array_split(np.arange(rows, dtype=np.int32), min(jobs, rows)):
            self._job += 1
            job = TransferJob(self._job, [keys[row] for row in part], part, load, context)
            (self.tier.submit_load if load else self.tier.submit_store)(job)
            submitted.add(self._job)
        return submitted

    def finished(self) -> set[int]:
        """Jobs that have ended since the last call. Raises: RuntimeError for one that failed."""
        ended = set()
        for result in self.tier.get_finished_jobs():
            if not result.success:
                raise RuntimeError(f"a job failed: {result}")
            ended.add(result.job_id)
        return ended

    def end_step(self) -> None:
        self.tier.on_schedule_end(_STEP_END)

    def move(self, seed: int, *, load: bool, jobs: int) -> dict[str, float]:
        """Load or store all rows in `jobs` jobs.

        Returns: seconds and CPU seconds from submission to last result; threads_s: CPU seconds of the tier's threads.
        """
        used, began, stepping, mine = _cpu_s(), time.perf_counter(), 0.0, time.thread_time()
        waiting = self.submit(seed, load=load, jobs=jobs)
        while waiting := waiting - self.finished():
            slept = time.thread_time()
            time.sleep(STEP_S)
            stepping += time.thread_time() - slept
            self.end_step()
        # Waking up every millisecond is the bench's doing, not the tier's.
        cpu_s = _cpu_s() - used
        return {
            "seconds": time.perf_counter() - began,
            "cpu_s": cpu_s - stepping,
            "threads_s": cpu_s - (time.thread_time() - mine),
        }

    def look_up(self, seed: int, count: int) -> dict[str, float]:
        """One request's prefix of `count` blocks, asked cold, then once more by another request."""
        keys = [key(seed, index) for index in range(count)]
        began = time.perf_counter()
        found = self._until_known([(keys, self._context(keys))])
        cold_s = time.perf_counter() - began
        context = self._context(keys[:found])
        began = time.perf_counter()
        again = self._until_known([(keys[:found], context)])
        warm_s = time.perf_counter() - began
        if again != found:
            raise RuntimeError(f"{found} blocks were there, then {again}")
        return {"seconds": cold_s, "found": found, "warm_us": warm_s / found * 1e6 if found else 0.0}

    def look_up_apart(self, seed: int, count: int) -> dict[str, float]:
        """As many requests of one block each."""
        requests = [([key(seed, index)], self._context([key(seed, index)])) for index in range(count)]
        began = time.perf_counter()
        found = self._until_known(requests)
        return {"seconds": time.perf_counter() - began, "found": found}

    def _until_known(self, requests: list[tuple[list[bytes], ReqContext]]) -> int:
        """Step until no request has a block to wait for. Returns: blocks found before the first miss, all together."""
        found = 0
        while requests:
            waiting = []
            for keys, context in requests:
                hits, retry = self._scan(keys, context)
                if retry:
                    waiting.append((keys, context))
                else:
                    found += hits
                    self.tier.on_request_finished(context)
            requests = waiting
            self.end_step()
            if requests:
                time.sleep(STEP_S)
        return found

    def _scan(self, keys: Iterable[bytes], context: ReqContext) -> tuple[int, bool]:
        """As vLLM's manager does: in order, over RETRY, to the first MISS."""
        hits, retry = 0, False
        for one in keys:
            answer = self.tier.lookup(one, context)
            if answer is LookupResult.MISS:
                break
            if answer is LookupResult.RETRY:
                retry = True
            else:
                hits += 1
        return hits, retry

    def _context(self, keys: list[bytes]) -> ReqContext:
        self._request += 1
        context = ReqContext(f"request-{self._request}")
        for index, one in enumerate(keys):
            context.set_offload_key_position(one, (index + 1) * TOKENS)
        self.tier.on_new_request(context)
        return context

    def close(self) -> None:
        self.tier.shutdown()
        del self.tier


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime

# SPDX-License-Identifier: Apache-2.0
"""All that this package uses of vLLM 0.32 beyond its public names: what to compare with the next minor version."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from vllm.config import ModelConfig
from vllm.v1.kv_offload.base import OffloadingWorker
from vllm.v1.kv_offload.cpu.shared_offload_region import SharedOffloadRegion


def region_of(worker: OffloadingWorker) -> SharedOffloadRegion | None:
    """The region that vLLM's own worker mapped."""
    return worker._mmap_region


def scheduler_region(spec: Any) -> SharedOffloadRegion | None:
    """The region that the spec's manager mapped. Requires: get_manager() was called."""
    return spec._scheduler_mmap


def disown(region: SharedOffloadRegion) -> bool:
    """Let the region not unlink its file at its end. Returns: whether it would have: it made the file."""
    created: bool = region._creator
    region._creator = False
    return created


# Methods of a worker that change weights (v1/worker/gpu_worker.py, of which the CPU's and the XPU's are subclasses).
_WEIGHT_CHANGES = ("reload_weights", "start_weight_update", "start_draft_weight_update", "update_weights")


def before_weight_change(call: Callable[[], None]) -> None:
    """Have the workers of this process call it before they change weights. Instead of what was given before."""
    from vllm.v1.worker.gpu_worker import Worker

    for name in _WEIGHT_CHANGES:
        change = getattr(Worker, name)
        change = getattr(change, "__wrapped__", change)

        @functools.wraps(change)
        def announced(*args: Any, _change: Callable[..., Any] = change, **kwargs: Any) -> Any:
            call()
            return _change(*args, **kwargs)

        setattr(Worker, name, announced)


def secondary_tiers(connector: Any) -> Iterable[Any]:
    """The tiers below the CPU tier that the scheduler's half of an OffloadingConnector has made; none in a worker."""
    manager = getattr(connector.connector_scheduler, "manager", None)
    return getattr(manager, "secondary_tiers", ())


def cpu_attention_isa(model: ModelConfig, block_tokens: int) -> str:
    """The instruction set for which vLLM's CPU kernels pack keys."""
    from vllm.v1.attention.backends.cpu_attn import _get_attn_isa

    return str(_get_attn_isa(model.dtype, block_tokens, model.get_head_size()))

# SPDX-License-Identifier: Apache-2.0
"""All that this package uses of vLLM 0.32 and 0.33 beyond its public names: what to compare with the next version.

Here the two are alike. Once they are not, each gets a module of its own, and this one chooses.
"""

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


def _always(*_args: Any, **_kwargs: Any) -> bool:
    return True


def _is_deep(level: int = 1) -> bool:
    return level > 1


def _names_weights(tags: Iterable[str]) -> bool:
    return "weights" in tags


# Methods of a worker that change weights or throw them away, so that whoever comes next brings others, or none
# (v1/worker/gpu_worker.py, of which the CPU's and the XPU's are subclasses), and for which arguments they do.
_WEIGHT_CHANGES: dict[str, Callable[..., bool]] = {
    "reload_weights": _always,
    "reset_weights": _always,
    "start_weight_update": _always,
    "start_draft_weight_update": _always,
    "update_weights": _always,
    "sleep": _is_deep,
    "discard": _names_weights,
}


def before_weight_change(call: Callable[[], None]) -> None:
    """Have the workers of this process call it before they change weights. Instead of what was given before."""
    from vllm.v1.worker.gpu_worker import Worker

    for name, changes in _WEIGHT_CHANGES.items():
        method = getattr(Worker, name)
        setattr(Worker, name, _announced(getattr(method, "__wrapped__", method), changes, call))


def _announced(
    method: Callable[..., Any], changes: Callable[..., bool], call: Callable[[], None]
) -> Callable[..., Any]:
    @functools.wraps(method)
    def announced(worker: Any, *args: Any, **kwargs: Any) -> Any:
        if changes(*args, **kwargs):
            call()
        return method(worker, *args, **kwargs)

    return announced


def secondary_tiers(connector: Any) -> Iterable[Any]:
    """The tiers below the CPU tier that the scheduler's half of an OffloadingConnector has made; none in a worker."""
    manager = getattr(connector.connector_scheduler, "manager", None)
    return getattr(manager, "secondary_tiers", ())


def cpu_attention_isa(model: ModelConfig, block_tokens: int) -> str:
    """The instruction set for which vLLM's CPU kernels pack keys."""
    from vllm.v1.attention.backends.cpu_attn import _get_attn_isa

    return str(_get_attn_isa(model.dtype, block_tokens, model.get_head_size()))

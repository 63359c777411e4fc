# SPDX-License-Identifier: Apache-2.0
"""Read the identity out of vLLM's configuration. Works alike in the scheduler's and a worker's process."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import vllm
from vllm.distributed.kv_transfer.kv_connector.v1.offloading.config import build_offloading_config
from vllm.platforms import current_platform

from llmd_storage_connector.blocks.format import FORMAT_VERSION
from llmd_storage_connector.errors import Misconfigured
from llmd_storage_connector.identity.facts import Identity, plain
from llmd_storage_connector.vllm.engine_settings import settings_of
from llmd_storage_connector.vllm.internals import cpu_attention_isa

if TYPE_CHECKING:
    from vllm.config import ModelConfig, ParallelConfig, VllmConfig
    from vllm.v1.kv_cache_interface import KVCacheConfig
    from vllm.v1.kv_offload.config import OffloadingConfig

# In place of a TP size: blocks are the same under each.
ANY_TP = "any"
# Rope types whose table depends on the longest context served, not on the model alone.
_LENGTH_DEPENDENT_ROPE = ("longrope", "su", "dynamic")


def identity_of(vllm_config: VllmConfig, kv_cache_config: KVCacheConfig, weights: Mapping[str, Any]) -> Identity:
    """weights: what Fingerprint says of them.

    Raises: Misconfigured when blocks could not be told apart, or never be found again.
    """
    model, cache = vllm_config.model_config, vllm_config.cache_config
    offloading = build_offloading_config(vllm_config, kv_cache_config)
    if getattr(cache, "calculate_kv_scales", False):
        raise Misconfigured(
            "calculate_kv_scales takes scales from the first prompts of each process, so no other could read its "
            "blocks: use scales from the checkpoint, or none"
        )
    return Identity(
        # Layouts and kernels may change with a minor version; patch releases keep the cache.
        runner="vllm " + ".".join(vllm.__version__.split(".")[:2]),
        weights=weights,
        model_config=_model_config(model),
        dtype=str(model.dtype).removeprefix("torch."),
        quantization=None if model.quantization is None else str(model.quantization),
        kv_cache={
            "dtype": offloading.model.dtype,
            "layout": offloading.kv_cache_layout,
            "canonical": offloading.canonical_layout,
        },
        attention=_attention(vllm_config, offloading),
        block=_block(offloading),
        parallel=_parallel(vllm_config, offloading),
        block_hash=_block_hash(cache.prefix_caching_hash_algo),
        settings=_settings(vllm_config),
        format_version=FORMAT_VERSION,
    )


def _model_config(model: ModelConfig) -> dict[str, Any]:
    config = {"hf": plain(model.hf_config), "text": plain(model.hf_text_config)}
    rope = str(config["text"].get("rope_scaling")) + str(config["text"].get("rope_parameters"))
    if any(kind in rope for kind in _LENGTH_DEPENDENT_ROPE):
        config["maxModelLen"] = model.max_model_len
    return config


def _attention(vllm_config: VllmConfig, offloading: OffloadingConfig) -> dict[str, Any]:
    backend = getattr(vllm_config.attention_config, "backend", None)
    capability = current_platform.get_device_capability()
    facts: dict[str, Any] = {
        "platform": current_platform.device_type,
        # Decides which kernels, and so which layouts, vLLM picks when no backend is demanded.
        "capability": None if capability is None else f"{capability.major}.{capability.minor}",
        "backend": None if backend is None else str(getattr(backend, "name", backend)),
        "runner": 2 if vllm_config.use_v2_model_runner else 1,
    }
    if current_platform.is_cpu():
        # The CPU kernels pack keys for the instruction set they run on.
        facts["isa"] = cpu_attention_isa(vllm_config.model_config, offloading.groups[0].tokens_per_block)
    return facts


def _block(offloading: OffloadingConfig) -> dict[str, Any]:
    # Canonical blocks are one page for all workers: equal under every TP size only where their whole length is.
    workers = offloading.parallel.world_size if _is_topology_free(offloading) else 1
    return {
        "tokensPerHash": offloading.cache.tokens_per_hash,
        "vllmBlocks": offloading.cache.blocks_per_chunk,
        "workerBytes": offloading.worker_kv_bytes_per_block * workers,
        "groups": [
            {"tokens": group.tokens_per_block, "layers": list(group.layer_names)} for group in offloading.groups
        ],
    }


def _is_topology_free(offloading: OffloadingConfig) -> bool:
    """Canonical blocks are equal under every TP size, if vLLM says so; direct ones are not, whatever it says."""
    return bool(offloading.canonical_layout and offloading.parallel.is_parallelism_agnostic)


def _settings(vllm_config: VllmConfig) -> dict[str, Any]:
    settings = settings_of(vllm_config)
    speculative = vllm_config.speculative_config
    draft = getattr(speculative, "draft_model_config", None)
    if draft is not None:  # its layers keep their KV in the same blocks
        settings |= settings_of(speculative) | {"draft": plain(draft.hf_config)}
    return settings


def _parallel(vllm_config: VllmConfig, offloading: OffloadingConfig) -> dict[str, Any]:
    parallel = offloading.parallel
    return {
        "tp": ANY_TP if _is_topology_free(offloading) else parallel.tp_size,
        "pp": parallel.pp_size,
        "pcp": parallel.pcp_size,
        "dcp": parallel.dcp_size,
        "replicated": offloading.replicated_layout,
        "interleave": _interleave(vllm_config.parallel_config),
    }


def _interleave(parallel: ParallelConfig) -> int | None:
    """How many tokens in a row a context-parallel rank holds; None without such ranks.

    Left to vLLM, its workers decide (VllmConfig.adjust_dcp_kv_cache_interleave_size): a block beside NIXL, or 1.
    A connector within MultiConnector cannot see which.

    Raises: Misconfigured when it is left to vLLM.
    """
    if parallel.decode_context_parallel_size * parallel.prefill_context_parallel_size == 1:
        return None
    size: int = parallel.cp_kv_cache_interleave_size
    if parallel.decode_context_parallel_size == 1:
        return size
    if parallel._allow_auto_resolve_cp_interleave_size:
        raise Misconfigured(
            "with decode context parallelism vLLM decides by its other connectors how tokens lie in blocks, which this "
            "one cannot see: set --cp-kv-cache-interleave-size alike in all pods, to 1 or, beside NIXL, the block size"
        )
    replaced: int = parallel.dcp_kv_cache_interleave_size
    return replaced if replaced > 1 else size


def _block_hash(algorithm: str) -> dict[str, Any]:
    seed = os.environ.get("PYTHONHASHSEED")
    if seed is None and algorithm.startswith("xxhash"):
        raise Misconfigured(
            f"prefix_caching_hash_algo {algorithm} starts from a random value in every process, so no block "
            "could be found again: set PYTHONHASHSEED to one value in all pods, or use sha256"
        )
    # For those algorithms the seed is a secret: only its digest is written down.
    digest = None if seed is None else hashlib.sha256(seed.encode()).hexdigest()
    return {"algorithm": algorithm, "seedSha256": digest}

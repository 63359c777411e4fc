# SPDX-License-Identifier: Apache-2.0
"""Which of vLLM's own settings belong to a block's identity: all that are not known to be harmless.

What is listed in HARMLESS cannot change a block's bytes or which tokens its key names; what is in ELSEWHERE is in the
identity in another form. All else counts where it differs from vLLM's default: also a field that vLLM brings one day,
which then costs hits and never a wrong byte. A test names the fields that nobody has judged (tests/engine).

Kernels, batches, graphs and parallel execution change roundings, not what is computed: blocks are shared across them.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from typing import Any

from llmd_storage_connector.identity.facts import canonical_json, plain


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Fields that hold a configuration whose own fields are judged, each by itself.
_LOOKED_INTO = {
    ("VllmConfig", "model_config"),
    ("VllmConfig", "cache_config"),
    ("VllmConfig", "parallel_config"),
    ("VllmConfig", "attention_config"),
    ("VllmConfig", "mamba_config"),
    ("ModelConfig", "multimodal_config"),
}
# By class of vllm.config.
ELSEWHERE = {
    "VllmConfig": _words("kv_transfer_config load_config quant_config speculative_config weight_transfer_config"),
    "ModelConfig": _words(
        "model model_weights dtype hf_config hf_text_config hf_config_path hf_overrides config_format revision "
        "max_model_len quantization word_embeddings_untied_by_checkpoint"
    ),
    "CacheConfig": _words("block_size hash_block_size kv_cache_layout cache_dtype prefix_caching_hash_algo"),
    "ParallelConfig": _words(
        "pipeline_parallel_size tensor_parallel_size prefill_context_parallel_size decode_context_parallel_size "
        "cp_kv_cache_interleave_size dcp_kv_cache_interleave_size worker_extension_cls"
    ),
    "AttentionConfig": _words("backend"),
    "SpeculativeConfig": _words(
        "model revision target_model_config target_parallel_config draft_model_config draft_parallel_config "
        "draft_load_config"
    ),
}
HARMLESS = {
    "VllmConfig": _words(
        "scheduler_config device_config offload_config kernel_config lora_config watermark_config diffusion_config "
        "structured_outputs_config observability_config logging_config compilation_config profiler_config "
        "kv_events_config ec_transfer_config ec_manager_config reasoning_config aux_output_config instance_id "
        "optimization_level performance_mode shutdown_timeout watchdog_config"
    ),
    "ModelConfig": _words(
        # Text to tokens and tokens to text: a block's key names tokens.
        "tokenizer tokenizer_mode tokenizer_revision skip_tokenizer_init renderer_num_workers io_processor_plugin "
        "allowed_local_media_path allowed_media_domains hf_token served_model_name enable_prompt_embeds "
        # What is done with logits.
        "generation_config override_generation_config logits_processors max_logprobs logprobs_mode use_fp64_gumbel "
        "return_sampling_mask enable_trace_replay pooler_config seed "
        # How it runs.
        "enforce_eager disable_cascade_attn enable_sleep_mode sleep_preserve_parameter_names sleep_mode_backend "
        "sleep_mode_offload_cudagraph enable_nccl_comm_suspend enable_cumem_allocator is_submodel_config "
        "spec_target_max_model_len allow_deprecated_quantization"
    ),
    "CacheConfig": _words(
        # How much is kept, and for how long.
        "gpu_memory_utilization num_gpu_blocks_override num_gpu_blocks num_cpu_blocks kv_cache_size_tokens "
        "kv_cache_max_concurrency kv_cache_memory_bytes kv_offloading_size kv_offloading_backend enable_prefix_caching "
        "prefix_cache_retention_interval cache_hit_alignment_tokens effective_attention_block_size "
        "user_specified_block_size is_attention_free _block_size_resolved simple_cpu_offload_num_blocks"
    ),
    "ParallelConfig": _words(
        # Who runs where, and how they talk.
        "data_parallel_size data_parallel_size_local data_parallel_rank data_parallel_rank_local data_parallel_index "
        "data_parallel_master_ip data_parallel_rpc_port data_parallel_master_port data_parallel_backend "
        "data_parallel_external_lb data_parallel_hybrid_lb dp_sync_interval _data_parallel_master_port_list "
        "_coord_store_port master_addr master_port node_rank nnodes rank world_size numa_bind numa_bind_nodes "
        "numa_bind_cpus assigned_physical_gpu_ids distributed_timeout_seconds cpu_distributed_timeout_seconds "
        "distributed_executor_backend worker_cls placement_group ray_workers_use_nsight ray_runtime_env "
        "max_parallel_loading_workers disable_custom_all_reduce enable_shm_tensor_arena "
        "disable_nccl_for_dp_synchronization all2all_backend dcp_comm_backend _api_process_count _api_process_rank "
        "_allow_auto_resolve_cp_interleave_size enable_fault_tolerance fault_tolerance_config "
        # How work is split between them.
        "is_moe_model enable_expert_parallel enable_ep_weight_filter enable_eplb eplb_config expert_placement_strategy "
        "enable_elastic_ep elastic_ep_max_dp_size enable_dbo ubatch_size dbo_decode_token_threshold "
        "dbo_prefill_token_threshold enable_batch_sharded_sampling enable_hc_sp dcp_q_replicate"
    ),
    "AttentionConfig": _words(
        "flash_attn_max_num_splits_for_cuda_graph tq_max_kv_splits_for_cuda_graph tokenspeed_mla_min_split_kv "
        "sparse_mla_prefill_workspace_factor flex_attn_block_m flex_attn_block_n flex_attn_q_block_size "
        "flex_attn_kv_block_size "
        # How a sparse indexer's work is split between ranks; each holds the whole index.
        "indexer_tp_shard_min_rows minimax_m3_indexer_cp"
    ),
    # Of a drafter's layers; how many tokens it drafts, and which of them are taken, is no matter of theirs.
    "SpeculativeConfig": _words(
        "enforce_eager num_speculative_tokens num_speculative_tokens_per_batch_size moe_backend max_model_len "
        "disable_padded_drafter_batch disable_eagle_block_drop use_local_argmax_reduction prompt_lookup_max "
        "prompt_lookup_min suffix_decoding_max_tree_depth suffix_decoding_max_cached_requests "
        "suffix_decoding_max_spec_factor suffix_decoding_min_token_prob rejection_sample_method "
        "synthetic_acceptance_rates synthetic_acceptance_length enable_adaptive_verification draft_sample_method "
        "dspark_draft_topk xpress_topc draft_lm_head_quantization fly_window_size fly_entropy_threshold "
        "fly_entropy_top_k"
    ),
    "MultiModalConfig": _words(
        "limit_per_prompt enable_mm_embeds mm_processor_cache_gb mm_processor_cache_type mm_hasher_algorithm "
        "mm_shm_cache_max_object_size_mb mm_encoder_tp_mode mm_encoder_attn_backend mm_encoder_fp8_scale_save_path "
        "mm_encoder_fp8_scale_save_margin skip_mm_profiling mm_tensor_ipc mm_ipc_gpu_memory_gb interleave_mm_strings"
    ),
}
# Judged to count, so that their values are written down. Of a field in no table only a digest is: it may be a secret.
RELEVANT = {
    "VllmConfig": _words("additional_config engram_config"),
    "ModelConfig": _words(
        "runner convert trust_remote_code code_revision quantization_config disable_sliding_window model_impl "
        "model_class_overrides"
    ),
    "CacheConfig": _words(
        "prefix_match_unit sliding_window kv_cache_dtype_skip_layers mamba_page_size_padded skip_page_size_padded "
        "mamba_block_size mamba_cache_dtype mamba_ssm_cache_dtype mamba_cache_mode "
        "enable_mamba_shared_prefix_checkpoint replayssm_buffer_len use_replayssm use_kda_recoverssm "
        "kv_sharing_fast_prefill swa_bounded_replay"
    ),
    "ParallelConfig": frozenset[str](),
    "AttentionConfig": _words(
        "minimax_m3_msa_decode_backend backend_per_kind flash_attn_version use_trtllm_attention "
        "disable_flashinfer_q_quantization mla_prefill_backend use_prefill_query_quantization indexer_kv_dtype "
        "indexer_sparse_logits hisparse_config use_non_causal sparse_mla_force_mqa trtllm_ragged_backend"
    ),
    "SpeculativeConfig": _words(
        "method draft_tensor_parallel_size tensor_parallel_size quantization attention_backend kv_cache_dtype "
        "code_revision index_share_for_mtp_iteration use_heterogeneous_vocab parallel_drafting "
        "disable_lookahead_block_hashes"
    ),
    "MambaConfig": _words("backend enable_stochastic_rounding stochastic_rounding_philox_rounds ssu_algorithm"),
    "MultiModalConfig": _words(
        "language_model_only media_io_kwargs mm_processor_kwargs mm_device_do_normalize mm_encoder_only "
        "mm_encoder_attn_dtype mm_encoder_fp8_scale_path video_pruning_rate video_pruning_method "
        "allow_missing_mm_embeddings"
    ),
}
# Judged to count, and still only a digest is written down: a platform may take anything in there.
_SECRET_BY_NATURE = {"additional_config"}


def settings_of(config: Any) -> dict[str, Any]:
    """{"Class.field": value} of every field that counts and is not vLLM's default; of an unjudged one, its digest.

    config: a VllmConfig, or another dataclass of vllm.config.
    """
    return dict(sorted(_settings(config)))


def unjudged(config_class: type) -> set[str]:
    """Fields of a class of vllm.config that stand in no table."""
    name = config_class.__name__
    known = [table.get(name, frozenset()) for table in (ELSEWHERE, HARMLESS, RELEVANT)]
    nested = {field.name for field in dataclasses.fields(config_class) if (name, field.name) in _LOOKED_INTO}
    return {field.name for field in dataclasses.fields(config_class)} - nested - frozenset().union(*known)


def _settings(config: Any) -> Iterator[tuple[str, Any]]:
    name = type(config).__name__
    relevant = RELEVANT.get(name, frozenset())
    left_out = ELSEWHERE.get(name, frozenset()) | HARMLESS.get(name, frozenset())
    for field in dataclasses.fields(config):
        value = getattr(config, field.name, None)
        if field.name in left_out or value is None:
            continue
        if (name, field.name) in _LOOKED_INTO:
            yield from _settings(value)
        elif value != _default(field):
            said = _plain(value)
            is_shown = field.name in relevant and field.name not in _SECRET_BY_NATURE
            digest = hashlib.sha256(canonical_json(said).encode()).hexdigest()
            yield f"{name}.{field.name}", said if is_shown else {"sha256": digest}


def _default(field: dataclasses.Field[Any]) -> Any:
    """A field's default; pydantic's declarations hold it within."""
    for declared in (field, field.default):
        factory = getattr(declared, "default_factory", None)
        if callable(factory):
            return factory()
    default = getattr(field.default, "default", field.default)
    return None if default is dataclasses.MISSING or "Undefined" in type(default).__name__ else default


def _plain(value: Any) -> Any:
    """As JSON; a configuration in a field by what differs from its own defaults."""
    return dict(_settings(value)) if dataclasses.is_dataclass(value) and not isinstance(value, type) else plain(value)

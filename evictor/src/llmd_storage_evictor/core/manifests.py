# SPDX-License-Identifier: Apache-2.0
"""Namespace manifests: the model, and how two identities differ. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# Keys are paths of identity fields; the longest prefix of a path counts.
_DESCRIPTIONS = {
    "runner": "serving engine and version",
    "weights": "weights of the model",
    "weights.draft": "weights of the draft model",
    "model_config": "model configuration",
    "model_config.hf.rope_theta": "base of the rotary embedding",
    "model_config.maxModelLen": "longest context (the rope table depends on it)",
    "dtype": "type the model computes in",
    "quantization": "quantization of the weights",
    "kv_cache": "KV cache",
    "kv_cache.dtype": "type of stored keys and values",
    "kv_cache.layout": "order of the KV cache's dimensions",
    "kv_cache.canonical": "whether the layout is independent of the topology",
    "attention": "attention",
    "attention.platform": "kind of accelerator",
    "attention.capability": "compute capability of the accelerator",
    "attention.backend": "attention backend",
    "attention.runner": "generation of the model runner",
    "attention.isa": "instruction set that keys are packed for",
    "block": "block",
    "block.tokensPerHash": "tokens of one hash",
    "block.vllmBlocks": "vLLM blocks in one file",
    "block.workerBytes": "bytes of one vLLM block on one rank",
    "block.groups": "groups of layers",
    "parallel": "parallelism",
    "parallel.tp": "tensor-parallel size",
    "parallel.pp": "pipeline-parallel size",
    "parallel.pcp": "prefill context-parallel size",
    "parallel.dcp": "decode context-parallel size",
    "parallel.replicated": "whether all ranks share one copy",
    "parallel.interleave": "tokens in a row on a context-parallel rank",
    "settings": "setting of vLLM",
    "block_hash": "hash of prefixes",
    "block_hash.algorithm": "hash algorithm of prefixes",
    "block_hash.seedSha256": "seed of the hash (PYTHONHASHSEED)",
    "format_version": "format of the block files",
}
_DIGEST_LENGTH = 64
# Compared as a whole: their parts mean nothing alone.
_WHOLE = {"weights.model", "weights.draft"}
# What an operator can set to the same value on both sides, where that is possible.
_REMEDIES = {
    "runner": "serve both with the same minor version of the engine",
    "weights": "serve the same revision of the same repository, or copies of the same files",
    "dtype": "set --dtype alike",
    "quantization": "set --quantization alike",
    "kv_cache.dtype": "set --kv-cache-dtype alike",
    "attention.backend": "set --attention-backend alike",
    "block": "set --block-size, and block_size of the connector, alike",
    "parallel": "use the same parallel sizes, or canonical_layout where the model allows it",
    "block_hash.algorithm": "set --prefix-caching-hash-algo alike",
    "block_hash.seedSha256": "set PYTHONHASHSEED to one value in all pods",
    "settings": "start vLLM with the same flags",
    "model_config": "set --hf-overrides and --max-model-len alike",
}


@dataclass(frozen=True, slots=True)
class IdentityDifference:
    """One identity field that differs. a, b: the values; None: missing on that side."""

    field: str
    description: str
    a: Any
    b: Any
    remedy: str


def model_of(manifest: Mapping[str, Any] | None) -> str:
    """The model's hub repository, the operator's name for its weights, or their digest; "" without a manifest."""
    try:
        if manifest and isinstance(name := manifest.get("model"), str) and name:
            return name
        weights = manifest["fields"]["weights"]["model"] if manifest else {}
        # Of weights by kind; hub and sampled are of manifests before the digest of the whole content.
        for known in ("repository", "id", "sha256", "kind"):
            if said := weights.get(known):
                return str(said)
        return ""
    except (KeyError, TypeError, AttributeError):
        return ""


def title_of(manifest: Mapping[str, Any] | None) -> str:
    """The same for display: a digest is shortened, with the architecture before it."""
    name = model_of(manifest)
    if manifest is None or "/" in name or "fields" not in manifest:
        return name
    try:
        architecture = str(manifest["fields"]["model_config"]["hf"]["architectures"][0])
    except (KeyError, IndexError, TypeError):  # of another version, or of somebody's making
        architecture = "model"
    return f"{architecture} {name[:12] if len(name) == _DIGEST_LENGTH else name}".strip()


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[IdentityDifference]:
    """Fields in which two identities differ, sorted by path."""
    one, other = dict(_flatten("", a)), dict(_flatten("", b))
    return [
        IdentityDifference(
            path,
            _longest_prefix(_DESCRIPTIONS, path) or path,
            one.get(path),
            other.get(path),
            _longest_prefix(_REMEDIES, path),
        )
        for path in sorted({*one, *other})
        if one.get(path) != other.get(path)
    ]


def _longest_prefix(table: Mapping[str, str], path: str) -> str:
    while path:
        if path in table:
            return table[path]
        path = path.rpartition(".")[0]
    return ""


def _flatten(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value and path not in _WHOLE:
        for key, item in value.items():
            yield from _flatten(f"{path}.{key}" if path else str(key), item)
    else:
        yield path, value

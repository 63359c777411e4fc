# SPDX-License-Identifier: Apache-2.0
"""What a namespace's blocks belong to. Pure: facts in, digest and words out.

Two engines share blocks exactly when these facts are equal. Whatever changes the bytes of a KV block, or
which block a hash names, is here; what does not (paths, memory sizes, number of replicas) is not.
Cache salts are part of vLLM's block hash already; requests with what the hash only names are kept out (vllm/bypass.py).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

MANIFEST_VERSION = 1
# Keys of a model config that say where it came from, not what it computes.
_PROVENANCE = {"_name_or_path", "transformers_version", "_commit_hash"}


@dataclass(frozen=True, slots=True)
class Identity:
    """Each field is JSON. schemas/namespace-manifest.schema.json explains them; a test keeps both equal."""

    runner: str
    weights: Mapping[str, Any]
    model_config: Mapping[str, Any]
    dtype: str
    quantization: str | None
    kv_cache: Mapping[str, Any]
    attention: Mapping[str, Any]
    block: Mapping[str, Any]
    parallel: Mapping[str, Any]
    block_hash: Mapping[str, Any]
    settings: Mapping[str, Any]
    format_version: int

    def facts(self) -> dict[str, Any]:
        """All fields as plain JSON."""
        return json.loads(canonical_json(asdict(self)))  # type: ignore[no-any-return]

    def digest(self) -> bytes:
        """32 bytes that stand for all fields."""
        return digest_of(self.facts())


def from_facts(facts: Mapping[str, Any]) -> Identity:
    """The identity that facts() came from. Raises: ValueError when a field is missing or unknown."""
    names = {field.name for field in fields(Identity)}
    if set(facts) != names:
        raise ValueError(f"identity fields differ: {sorted(names ^ set(facts))}")
    return Identity(**facts)


def digest_of(facts: Mapping[str, Any]) -> bytes:
    """Digest of facts, independent of the order of keys."""
    return hashlib.sha256(canonical_json(facts).encode()).digest()


def canonical_json(value: Any) -> str:
    """One text for equal values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=True)


def manifest(facts: Mapping[str, Any], created_by: str, model: str = "") -> dict[str, Any]:
    """Content of manifest.json: the digest, all it was made from, and the model's name, if it has one.

    The name is no part of the identity: a copy of a repository in a folder of any name has the same blocks.
    """
    named = {"model": model} if model else {}
    return {
        "manifestVersion": MANIFEST_VERSION,
        "createdBy": created_by,
        "identity": digest_of(facts).hex(),
        **named,
        "fields": dict(facts),
    }


def plain(value: Any) -> Any:
    """A model config as JSON that is equal for equal configs: no paths, no object addresses, no versions."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        kept = {str(key): plain(item) for key, item in value.items() if str(key) not in _PROVENANCE}
        return dict(sorted(kept.items()))
    if isinstance(value, set | frozenset):
        return sorted((plain(item) for item in value), key=canonical_json)
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if callable(getattr(value, "to_dict", None)):
        return plain(value.to_dict())
    text = str(value)
    # An object without its own text would print its address, different in every process.
    return type(value).__qualname__ if " at 0x" in text else text

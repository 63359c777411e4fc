# SPDX-License-Identifier: Apache-2.0
"""A user would lose: right answers, if anything that changes KV bytes were left out of the identity."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from llmd_storage_connector.identity.facts import Identity, canonical_json, digest_of, from_facts, manifest, plain
from tests.unit.connector.conftest import make_facts

SCHEMA = json.loads((Path(__file__).parents[3] / "schemas/namespace-manifest.schema.json").read_text())


def test_manifest_follows_its_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    known = {"kind": "content", "files": 2, "bytes": 9, "sha256": "ab" * 32}
    for weights in (known, {"kind": "named", "id": "odd@7"}, {"kind": "dummy", "seed": None}):
        facts = make_facts(weights={"model": weights, "draft": known})
        jsonschema.validate(manifest(facts, "a test"), SCHEMA)
        jsonschema.validate(manifest(facts, "a test", "Qwen/Odd"), SCHEMA)
    jsonschema.validate(manifest(make_facts(), "an older connector"), SCHEMA)


def test_schema_names_exactly_the_fields_of_identity() -> None:
    names = {field.name for field in fields(Identity)}
    described = SCHEMA["properties"]["fields"]
    assert set(described["required"]) == set(described["properties"]) == names


@pytest.mark.parametrize(
    "changes",
    [
        {"runner": "vllm 0.33"},
        {"weights": {"model": {"kind": "content", "files": 1, "bytes": 9, "sha256": "cd" * 32}}},
        {"model_config": {"hf": {"rope_theta": 500000.0}, "text": {}}},
        {"dtype": "float16"},
        {"quantization": "fp8"},
        {"kv_cache": {"dtype": "fp8", "layout": "LBHNC", "canonical": False}},
        {"parallel": {"tp": 2, "pp": 1, "pcp": 1, "dcp": 1, "replicated": False, "interleave": None}},
        {"block_hash": {"algorithm": "sha256_cbor", "seedSha256": None}},
        {"format_version": 2},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_every_field_changes_the_digest(changes: dict[str, Any]) -> None:
    assert digest_of(make_facts(**changes)) != digest_of(make_facts())


def test_facts_lead_back_to_the_identity() -> None:
    facts = make_facts()
    assert from_facts(facts).facts() == facts
    assert from_facts(facts).digest() == digest_of(json.loads(canonical_json(facts)))
    with pytest.raises(ValueError, match="dtype"):
        from_facts({name: value for name, value in facts.items() if name != "dtype"})


def test_plain_configs_are_equal_for_equal_models() -> None:
    class Odd:
        """Prints its address."""

    class Nested:
        def to_dict(self) -> dict[str, Any]:
            return {"b": {2, 1}, "a": (1, 2), "_name_or_path": "/somewhere"}

    one = plain({"_name_or_path": "/a", "transformers_version": "5", "odd": Odd(), "text": Nested()})
    other = plain({"text": Nested(), "odd": Odd(), "_name_or_path": "/b"})
    assert canonical_json(one) == canonical_json(other)
    assert one["text"] == {"a": [1, 2], "b": [1, 2]}

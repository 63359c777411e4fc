# SPDX-License-Identifier: Apache-2.0
"""A user would lose: hours, or a cache, if a wrong setting were not named with what to write instead."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from llmd_storage_evictor.config import json_schema, parse
from llmd_storage_evictor.errors import Misconfigured
from llmd_storage_evictor.sizes import bytes_of, seconds_of, show_bytes, show_seconds

SCHEMA = Path(__file__).parents[3] / "schemas/evictor-config.schema.json"
GOOD: dict[str, Any] = {"root_dir": "/mnt/kv-cache/blocks", "claim_bytes": "100Gi"}
FAULTS = [
    ({"root_dir": 3}, "root_dir must be a string, not 3"),
    ({"claim_bytes": "100 GB"}, "claim_bytes cannot be read: '100 GB' is not a size"),
    ({"claim_bytes": True}, 'claim_bytes must be bytes, or a size like "500Gi", not true'),
    ({"claim_bytes": 0}, "claim_bytes must be at least 1"),
    ({"high_watermark": 1.5}, "high_watermark must be at most 1"),
    ({"io_threads": 2.5}, "io_threads must be a whole number"),
    ({"dry_run": "yes"}, "dry_run must be true or false"),
    ({"budget": 3}, "unknown key budget"),
    ({"ttl": 3}, "did you mean 'ttl_s'"),
    ({"namespaces": {}}, "namespaces must be a list"),
    ({"namespaces": [{"pin": True}]}, "unknown key namespaces[0].pin"),
    ({"namespaces": [{"quota_bytes": "x"}]}, "namespaces[0].quota_bytes cannot be read"),
]
CONTRADICTIONS = [
    ({"root_dir": "blocks"}, "root_dir must be an absolute path"),
    ({"low_watermark": 0.95}, "low_watermark must be less than high_watermark"),
    ({"budget_bytes": "200Gi"}, "budget_bytes must not be more than claim_bytes"),
    ({"namespaces": [{"quota_bytes": 5, "minimum_bytes": 6}]}, "minimum_bytes must not be more than its quota_bytes"),
    ({"namespaces": [{"pinned": True, "ttl_s": 5}]}, "is pinned"),
]


@pytest.mark.parametrize(("change", "sentence"), FAULTS, ids=[sentence for _, sentence in FAULTS])
def test_a_fault_is_named_and_the_schema_knows_it(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Misconfigured) as raised:
        parse(GOOD | change)
    assert sentence in str(raised.value)
    assert not jsonschema.Draft202012Validator(json_schema()).is_valid(GOOD | change)


@pytest.mark.parametrize(("change", "sentence"), CONTRADICTIONS, ids=[sentence for _, sentence in CONTRADICTIONS])
def test_a_contradiction_is_named(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Misconfigured, match=sentence):
        parse(GOOD | change)


def test_without_a_size_nothing_is_guessed() -> None:
    with pytest.raises(Misconfigured, match=r"set claim_bytes .* or budget_bytes"):
        parse({"root_dir": "/mnt"})


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(Misconfigured, match=r"unknown key typo.*root_dir is missing.*poll_s cannot be read"):
        parse({"typo": 1, "poll_s": "x"})


def test_defaults_follow_from_the_claim() -> None:
    config = parse(GOOD)
    assert config.effective_budget_bytes == int(0.9 * 100 * 2**30)
    assert config.effective_free_floor_bytes == int(config.effective_budget_bytes * 0.02)
    assert config.effective_probe_dir == "/mnt/kv-cache/.probe"
    assert parse(GOOD | {"free_floor_bytes": 0, "probe_dir": ""}).free_floor_bytes == 0
    assert parse(GOOD | {"io_threads": 4.0}).io_threads == 4, "as Helm may write it"


def test_the_schema_file_is_what_the_decoder_does() -> None:
    assert json.loads(SCHEMA.read_text()) == json_schema(), "make it anew: python -m llmd_storage_evictor.config"
    jsonschema.Draft202012Validator.check_schema(json_schema())
    assert jsonschema.Draft202012Validator(json_schema()).is_valid(GOOD | {"namespaces": [{"model": "a/*"}]})


def test_sizes_and_times_are_read_and_shown() -> None:
    assert bytes_of("18000Gi") == 18000 * 2**30 and bytes_of("2.5k") == 2500 and bytes_of("7") == 7
    assert seconds_of("12h") == 43200 and seconds_of("1.5d") == 129600 and seconds_of("9") == 9
    assert [show_bytes(one) for one in (0, 1023, 1536, 15 * 2**30, 2**50)] == [
        "0 B", "1023 B", "1.50 KiB", "15.0 GiB", "1.00 PiB",
    ]  # fmt: skip
    assert [show_seconds(one) for one in (0.5, 75, 3600, 90000)] == ["0.50s", "1m 15s", "1h", "1d 1h"]

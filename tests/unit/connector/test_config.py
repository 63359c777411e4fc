# SPDX-License-Identifier: Apache-2.0
"""A user would lose: hours, if a wrong setting were not named with what to write instead."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from llmd_storage_connector.config import check_topology, json_schema, parse
from llmd_storage_connector.errors import Misconfigured

SCHEMA = Path(__file__).parents[3] / "schemas/connector-config.schema.json"
GOOD = {"root_dir": "/mnt/kv-cache/blocks", "cpu_bytes_to_use": 1 << 30}

FAULTS = [
    ({"root_dir": None}, "root_dir must be a string, not null"),
    ({"root_dir": 3}, "root_dir must be a string, not 3"),
    ({"cpu_bytes_to_use": 0}, "cpu_bytes_to_use must be at least 1"),
    ({"cpu_bytes_to_use": "10Gi"}, "cpu_bytes_to_use must be a whole number"),
    ({"cpu_bytes_to_use": True}, "cpu_bytes_to_use must be a whole number"),
    ({"io_threads": 1.5}, "io_threads must be a whole number"),
    ({"lookup_deadline_s": 0}, "lookup_deadline_s must be at least 0.001"),
    ({"load_deadline_s": float("nan")}, "load_deadline_s must be at least"),
    ({"publish": "move"}, "publish must be one of auto, rename_fsync, link, exclusive, rename"),
    ({"fail_fast": "yes"}, "fail_fast must be true or false"),
    ({"io_thread": 3}, "did you mean 'io_threads'"),
    ({"secondary_tiers": ["fs"]}, 'must be a JSON object, not "fs"'),
    ({"spec_name": "x"}, "unknown key spec_name"),
]


@pytest.mark.parametrize(("change", "sentence"), FAULTS, ids=[sentence for _, sentence in FAULTS])
def test_a_fault_is_named(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Misconfigured, match=sentence.replace("(", r"\(")):
        parse(GOOD | change)
    schema = json.loads(SCHEMA.read_text())
    if change.get("load_deadline_s") is None:  # JSON has no NaN
        assert not jsonschema.Draft202012Validator(schema).is_valid(GOOD | change)


def test_a_relative_root_is_named() -> None:
    with pytest.raises(Misconfigured, match="root_dir must be an absolute path, not 'blocks'"):
        parse(GOOD | {"root_dir": "blocks"})


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(Misconfigured, match=r"unknown key.*root_dir is missing.*cpu_bytes_to_use is missing"):
        parse({"typo": 1})


def test_defaults() -> None:
    config = parse(GOOD)
    assert config.effective_store_queue_bytes == 1 << 29
    assert config.publish == "auto"
    assert config.vllm_options == {"cpu_bytes_to_use": 1 << 30}
    assert parse(GOOD | {"block_size": 256}).vllm_options["block_size"] == 256


def test_what_vllm_has_beside_this_connector_is_handed_on() -> None:
    theirs = {"backpressure": {"backpressure_cls": "EMABackpressureDetector"}, "self_describing_kv_events": True}
    tiers = [{"type": "fs", "root_dir": "/mnt/nvme", "n_read_threads": 4}]
    config = parse(GOOD | theirs | {"secondary_tiers": tiers})
    assert theirs.items() <= config.vllm_options.items()
    assert list(config.secondary_tiers) == tiers


def test_the_schema_file_is_what_the_parser_does() -> None:
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema == json_schema(), "run: python -m llmd_storage_connector.config > schemas/connector-config…"
    jsonschema.validate(GOOD | {"io_threads": 8, "fail_fast": True, "publish": "link"}, schema)


@pytest.mark.parametrize("where", [(4, 2, None), (4, 1, 2)], ids=["two nodes", "ray beyond this node"])
def test_an_engine_over_several_nodes_is_refused(where: tuple[int, int, int | None]) -> None:
    with pytest.raises(Misconfigured, match="spans several nodes"):
        check_topology(*where)
    check_topology(4, 1, None)
    check_topology(4, 1, 8)

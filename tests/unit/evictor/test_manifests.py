# SPDX-License-Identifier: Apache-2.0
"""A user would lose: a model's quota, if its namespaces were not known to be its own."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from llmd_storage_connector.blocks import layout
from llmd_storage_connector.identity.facts import manifest
from llmd_storage_connector.telemetry.rate_limited_log import RateLimitedLog
from llmd_storage_evictor.cache.directory import CacheDirectory
from llmd_storage_evictor.config import parse
from llmd_storage_evictor.controller.other_releases import OtherReleases
from llmd_storage_evictor.controller.rules import NamespaceRules
from llmd_storage_evictor.core.index import Index
from llmd_storage_evictor.core.manifests import differences, model_of, title_of
from llmd_storage_evictor.core.policy import rule_for
from tests.unit.connector.conftest import Clock, make_facts

DIGEST = "ab" * 32
CONTENT = {"kind": "content", "files": 3, "bytes": 9, "sha256": DIGEST}


def of(weights: dict[str, Any], model: str = "") -> dict[str, Any]:
    hf = {"architectures": ["OddForCausalLM"]}
    facts = make_facts(weights={"model": weights}, model_config={"hf": hf, "text": {}})
    return manifest(facts, "a test", model)


@pytest.mark.parametrize(
    ("made", "name", "title"),
    [
        (of(CONTENT, "Qwen/Odd"), "Qwen/Odd", "Qwen/Odd"),
        (of(CONTENT), DIGEST, "OddForCausalLM abababababab"),
        (of({"kind": "named", "id": "odd-of-november@7"}), "odd-of-november@7", "OddForCausalLM odd-of-november@7"),
        (of({"kind": "dummy", "seed": 0}), "dummy", "OddForCausalLM dummy"),
        # Of connectors that took a snapshot's path at its word, or sampled.
        (of({"kind": "hub", "repository": "Qwen/Odd", "commit": "0" * 40}), "Qwen/Odd", "Qwen/Odd"),
        (of({"kind": "sampled", "files": 3, "sha256": DIGEST}), DIGEST, "OddForCausalLM abababababab"),
        ({"model": 3, "fields": []}, "", "model"),
        (None, "", ""),
    ],
)
def test_every_manifest_says_which_model(made: dict[str, Any] | None, name: str, title: str) -> None:
    assert (model_of(made), title_of(made)) == (name, title)


def test_a_models_rule_holds_for_its_old_and_its_new_namespaces() -> None:
    rules = [{"model": "Qwen/*", "quota_bytes": "1Gi"}]
    config = parse({"root_dir": "/cache", "budget_bytes": "10Gi", "namespaces": rules})
    for made in (of(CONTENT, "Qwen/Odd"), of({"kind": "hub", "repository": "Qwen/Odd", "commit": "0" * 40})):
        assert rule_for(config.namespaces, "0" * 32, model_of(made)).quota_bytes == 2**30
    assert rule_for(config.namespaces, "0" * 32, model_of(of(CONTENT))).quota_bytes is None


def test_a_rule_holds_as_soon_as_somebody_has_named_the_model(tmp_path: Path) -> None:
    """The first engine had a copy in a folder, the next one the repository."""
    made = of(CONTENT)
    folder = tmp_path / layout.namespace_name(bytes.fromhex(made["identity"]))
    folder.mkdir()
    (folder / layout.MANIFEST).write_text(json.dumps(made))
    config = parse({"root_dir": str(tmp_path), "budget_bytes": "10Gi", "namespaces": [{"model": "Qwen/*", "ttl_s": 9}]})
    directory = CacheDirectory(tmp_path)
    directory.open()
    clock = Clock()
    log = RateLimitedLog(logging.getLogger(__name__))
    rules = NamespaceRules(config, directory, OtherReleases(directory, "local", log, clock, clock), log, clock)
    index = Index()
    index.add_namespace(folder.name)

    def ttl_s() -> float | None:
        clock.now += 60.0
        return rules.of(index)[folder.name].ttl_s

    assert ttl_s() is None
    (folder / layout.MANIFEST).write_text(json.dumps(of(CONTENT, "Qwen/Odd")))
    assert ttl_s() == 9
    (folder / layout.MANIFEST).unlink()
    assert ttl_s() == 9, "known once, for as long as it is there"
    directory.close()


def test_the_name_is_no_part_of_the_identity() -> None:
    one, other = of(CONTENT, "Qwen/Odd"), of(CONTENT)
    assert one["identity"] == other["identity"]
    assert differences(one["fields"], other["fields"]) == []

# SPDX-License-Identifier: Apache-2.0
"""A user would lose: the blocks that a rule was to keep, because a manifest could not be read at one moment."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from llmd_storage_connector.blocks import layout
from llmd_storage_evictor.cache import shared_rules
from llmd_storage_evictor.cache.directory import CacheDirectory
from llmd_storage_evictor.controller.liveness import Liveness
from llmd_storage_evictor.controller.troubles import Troubles
from llmd_storage_evictor.leader.file_lease import FileLease
from llmd_storage_evictor.service.lease_keeper import LeaseKeeper
from tests.unit.connector.conftest import make_facts
from tests.unit.evictor.support import BLOCK, Bench, Namespace, config, evictor, namespace, stamp
from tests.unit.evictor.test_health import Elsewhere

MODEL = {"kind": "hub", "repository": "Qwen/Qwen3-32B", "revision": "a" * 40}
PIN = [{"model": "Qwen/*", "pinned": True}]


def full(root: Path) -> Namespace:
    """Twice its budget."""
    made = namespace(root, weights={**make_facts()["weights"], "model": MODEL})
    for number in range(20):
        made.store(number, age_s=1000 - number)
    return made


@pytest.fixture
def cache(tmp_path: Path) -> Namespace:
    return full(tmp_path / "blocks")


def pinned(cache: Namespace, **changes: Any) -> Any:
    return evictor(config(cache.root, **({"namespaces": PIN} | changes)))


def later(bench: Bench) -> None:
    bench.ticks[0] += 30
    bench.round()


@pytest.mark.parametrize("content", [None, "", "{", '{"fields": {}}'])
def test_a_manifest_that_is_missing_or_damaged_removes_no_pin(cache: Namespace, content: str | None) -> None:
    manifest = cache.path / layout.MANIFEST
    good = manifest.read_bytes()
    manifest.unlink()
    if content is not None:
        manifest.write_text(content)
    with pinned(cache, namespaces=[{"model": "Qwen/*", "minimum_bytes": 15 * BLOCK}]) as bench:
        bench.round()
        assert len(cache.numbers()) == 20 and bench.metric("unknown_models") == 1
        manifest.write_bytes(good)
        later(bench)
        assert len(cache.numbers()) == 15, "known now: its own rule holds, within the same leadership"
        assert bench.metric("unknown_models") == 0


def test_a_manifest_that_cannot_be_read_once_removes_no_pin(cache: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise OSError(5, "Input/output error")

    with pinned(cache) as bench:
        with monkeypatch.context() as broken:
            broken.setattr(CacheDirectory, "manifest", refused)
            bench.round()
        later(bench)
        assert len(cache.numbers()) == 20


def test_what_was_known_once_is_known_to_the_next_leader(cache: Namespace) -> None:
    with pinned(cache) as bench:
        bench.round()
        bench.controller.close()
    (cache.path / layout.MANIFEST).unlink()
    with pinned(cache) as bench:
        bench.round()
        assert bench.metric("unknown_models") == 0, "pinned by its rule, not for want of a manifest"
    assert len(cache.numbers()) == 20


def test_without_a_rule_for_models_no_manifest_is_needed(cache: Namespace) -> None:
    (cache.path / layout.MANIFEST).unlink()
    with evictor(config(cache.root, namespaces=[{"namespace": cache.name[:4], "minimum_bytes": BLOCK}])) as bench:
        bench.round()
    assert len(cache.numbers()) == 8


def test_a_rule_that_matches_nothing_is_said_once_with_what_there_is(
    cache: Namespace, caplog: pytest.LogCaptureFixture
) -> None:
    """A typing error in a model's name, found before the blocks are gone."""
    caplog.set_level(logging.WARNING)
    rules = [{"model": "Qwen/Qwen3-23B", "pinned": True}, {"namespace": cache.name, "minimum_bytes": BLOCK}]
    with evictor(config(cache.root, namespaces=rules)) as bench:
        bench.round()
        later(bench)
        assert bench.metric("unmatched_rules") == 1
    (said,) = [one.message for one in caplog.records if "no namespace falls" in one.message]
    assert "namespaces[0] (Qwen/Qwen3-23B)" in said and "Qwen/Qwen3-32B" in said and "namespaces[1]" not in said


def test_two_releases_on_one_claim_keep_to_each_others_pins(cache: Namespace, tmp_path: Path) -> None:
    """Whichever of them leads; the budget is for what nobody protects."""
    other = namespace(cache.root, dtype="other")
    for number in range(10):
        other.store(number, age_s=10)
    theirs = config(cache.root, budget_bytes=25 * BLOCK, namespaces=PIN)
    directory = CacheDirectory(cache.root)
    directory.open()
    shared_rules.save(directory, theirs, "team-b.b-evictor")
    written = cache.root / ".evictor" / "rules" / "team-b.b-evictor.json"
    stamp(written, 3600)
    with evictor(config(cache.root, budget_bytes=25 * BLOCK, namespaces=[{"minimum_bytes": 2 * BLOCK}])) as bench:
        bench.round()
        assert len(cache.numbers()) == 20 and len(other.numbers()) == 2
        written.write_text("{")  # half of something: nothing goes before it can be read
        stamp(written, 3600)
        later(bench), later(bench), later(bench)
        assert len(cache.numbers()) == 20
        stamp(written, 2 * 86400)  # that release is gone
        later(bench), later(bench), later(bench)
        assert len(cache.numbers()) + len(other.numbers()) == 20
    directory.close()


def say(root: Path, release: str, **changes: Any) -> Path:
    """What another release writes, an hour ago."""
    directory = CacheDirectory(root)
    directory.open()
    shared_rules.save(directory, config(root, **changes), release)
    directory.close()
    written = root / ".evictor/rules" / f"{release}.json"
    stamp(written, 3600)
    return written


def test_of_several_releases_budgets_the_smallest_counts_and_it_is_said(
    cache: Namespace, caplog: pytest.LogCaptureFixture
) -> None:
    """A user would lose: what others were promised of a disk, whenever another release's evictor leads."""
    say(cache.root, "team-b.b", budget_bytes=10 * BLOCK)
    written = say(cache.root, "team-c.c", budget_bytes=1000 * BLOCK)
    with evictor(config(cache.root, budget_bytes=18 * BLOCK)) as bench:
        bench.round()
        assert len(cache.numbers()) == 8 and bench.metric("budget_bytes") == 10 * BLOCK
        assert "the budget that team-b.b states" in bench.troubles.remark
        assert bench.troubles.remark in [one.message for one in caplog.records]
        assert not bench.controller.outdated
        say(cache.root, "team-b.b", budget_bytes=5 * BLOCK)
        written.write_text(json.dumps({"version": 1, "rules": []}))  # of a version that states none
        later(bench), later(bench), later(bench)
        assert bench.controller.outdated, "a new controller goes by the new one, with its announcement and grace"


def test_a_smaller_budget_of_another_release_does_not_empty_the_cache(cache: Namespace) -> None:
    with evictor(config(cache.root, budget_bytes=30 * BLOCK, allow_large_removal=False)) as bench:
        bench.round()
    say(cache.root, "team-b.b", budget_bytes=2 * BLOCK)
    with evictor(config(cache.root, budget_bytes=30 * BLOCK, allow_large_removal=False)) as bench:
        bench.round()
        assert len(cache.numbers()) == 20


def test_releases_that_share_a_claim_and_its_lease_do_not_write_over_each_other(cache: Namespace) -> None:
    """The Lease has the claim's name. Clusters that share a filesystem may have the same names for all."""
    one, two = (
        config(cache.root, lease_namespace="llm", lease_name="kv-cache", lease_owner=name) for name in ("a", "b")
    )
    names = {
        shared_rules.release_name(one), shared_rules.release_name(two), shared_rules.release_name(one, "0a1b2c3d")
    }  # fmt: skip
    assert names == {"llm.a", "llm.b", "llm.a.0a1b2c3d"}


def test_a_release_says_what_it_protects_though_it_never_leads(cache: Namespace) -> None:
    theirs = config(cache.root, namespaces=PIN, lease_namespace="team-b")
    directory = CacheDirectory(cache.root)
    clock = Liveness(60)
    LeaseKeeper(directory, FileLease(directory, "b"), Elsewhere(), clock, Troubles(), config=theirs, release="b").step()
    stamp(cache.root / ".evictor/rules/b.json", 10)
    with evictor(config(cache.root)) as bench:
        bench.round()
    directory.close()
    assert len(cache.numbers()) == 20


def test_a_rule_that_pins_everything_asks_for_no_model(cache: Namespace) -> None:
    with evictor(config(cache.root, namespaces=[{"pinned": True}])) as bench:
        bench.round()
        assert bench.metric("unknown_models") == 0

# SPDX-License-Identifier: Apache-2.0
"""Why a cache stays cold: a user who is told the wrong cause, or none, searches for days."""

from __future__ import annotations

import itertools

import pytest

from llmd_storage_hooks.proof.checks import diagnosis
from llmd_storage_hooks.proof.collect import prometheus
from llmd_storage_hooks.proof.collect.counters import delta, read_counters
from tests.unit.hooks.fake_vllm import FakeVllm
from tests.unit.hooks.test_proof_parts import counters, state
from tests.unit.hooks.test_proof_run import run

OWN = "vllm:kv_offload_llmd_storage_"
TIER = 'tier="1:llmd_storage"'


@pytest.mark.parametrize("connector", ["vllm-fs", "llmd-fs-backend", "lmcache"])
def test_a_connector_of_others_is_proven_by_what_it_counts(monkeypatch, connector):
    pair = [FakeVllm({}, connector=connector) for _ in range(2)]
    findings, block, _ = run(monkeypatch, a=pair[0], b=pair[1], connector=connector)
    bad = {name: one.verdict.value for name, one in findings.items() if one.verdict.value not in ("pass", "warn")}
    assert bad == {}
    assert block["source"] == "storage"
    assert block["reusedFraction"] == 1.0


def test_one_that_counts_at_intervals_is_waited_for(monkeypatch):
    a, b = (FakeVllm({}, connector="lmcache", late=30) for _ in range(2))
    findings, block, _ = run(monkeypatch, a=a, b=b, connector="lmcache")
    assert findings["proof.stored"].verdict.value == findings["proof.source"].verdict.value == "pass"
    assert block["bytesRead"] == 6000
    polls = [one for one in a.requests if one["max_tokens"] == 1]
    assert len(polls) > 30 + 10 / 0.5, "and once more: its first count may be of half a write"


def test_tokens_that_lmcache_had_in_its_memory_are_not_from_storage(monkeypatch):
    a, b = FakeVllm({}, connector="lmcache"), FakeVllm({}, "cpu tier", connector="lmcache")
    findings, block, _ = run(monkeypatch, a=a, b=b, connector="lmcache")
    assert findings["proof.source"].verdict.value == "fail"
    assert block["source"] == "cpu_tier"


def test_an_lmcache_whose_metrics_are_not_shown_is_told_how_to_show_them(monkeypatch):
    a, b = (FakeVllm({}, "no connector", connector="lmcache") for _ in range(2))
    findings, _, _ = run(monkeypatch, a=a, b=b, connector="lmcache")
    assert findings["proof.stored"].verdict.value == "fail"
    assert "lmcache:*" in findings["proof.stored"].sentence
    assert "PROMETHEUS_MULTIPROC_DIR" in findings["proof.stored"].remedy


@pytest.mark.parametrize("connector", ["llmd-fs-backend", "lmcache"])
def test_a_cold_cache_fails_whatever_the_connector_counts(monkeypatch, connector):
    a, b = FakeVllm({}, connector=connector), FakeVllm({}, "other namespace", connector=connector)
    findings, block, _ = run(monkeypatch, a=a, b=b, connector=connector)
    assert findings["proof.reuse"].verdict.value == "fail"
    assert findings["proof.source"].verdict.value == "fail"
    assert connector in findings["proof.reuse"].sentence
    assert block["source"] == "none"


def test_what_was_counted_before_the_proof_is_not_blamed():
    text = f'{OWN}lookup_misses_total{{{TIER},reason="slower"}} 7'
    before, after = read_counters(prometheus.parse(text)), read_counters(prometheus.parse(text))
    assert delta(before, after).misses == {"slower": 0.0}
    later = read_counters(prometheus.parse(text.replace("7", "9")))
    assert delta(before, later).misses == {"slower": 2.0}


@pytest.mark.parametrize(
    ("values", "said", "remedy"),
    [
        ({"misses": {"absent": 9.0, "slower": 3.0}}, "loading was slower than computing", "skipSlowLoads"),
        ({"misses": {"slow": 3.0}}, "loading was slower than computing", "skipSlowLoads"),
        ({"misses": {"breaker": 3.0}}, "leaves storage alone", "log"),
        ({"breaker_open": 1.0}, "leaves storage alone", "log"),
        ({"usable": 0.0}, "serves without storage", "failFast"),
        ({"misses": {"owner": 1.0}}, "belong to a user and a group", "uid and gid"),
        ({"misses": {"eacces": 1.0}}, "may not read", "fsGroup"),
        ({"misses": {"estale": 1.0}}, "ESTALE", "mounted anew"),
        ({"misses": {"deadline": 1.0}}, "deadline", "lookupDeadlineSeconds"),
        ({"damaged": 2.0}, "2 block files as damaged", "probe"),
        ({"misses": {"absent": 4.0}, "storage_queries": 4.0}, "another namespace", "PYTHONHASHSEED"),
    ],
)
def test_the_connectors_own_reason_is_the_cause(values, said, remedy):
    cause, fix = diagnosis.why_not_reused(
        counters(usable=1.0, **values) if "usable" not in values else counters(**values), "llmd-storage"
    )
    assert said in cause
    assert remedy in fix


def test_a_hash_seed_that_is_not_set_is_named_with_its_pod():
    pods = (state("a", hash_seed="42"), state("b", hash_seed=""))
    cause, _ = diagnosis.why_not_reused(counters(storage_queries=5.0), "llmd-storage", pods)
    assert "PYTHONHASHSEED is not set on b:" in cause


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"writes_paused": 1.0, "pauses": ("enospc",)}, "full (ENOSPC)"),
        ({"writes_paused": 1.0, "pauses": ("edquot",)}, "quota"),
        ({"refusals": {"paused": 3.0, "erofs": 9.0}}, "read-only"),
        ({"refusals": {"eacces": 1.0}}, "EACCES"),
        ({"refusals": {"queue_full": 1.0}}, "slower than the blocks came"),
        ({"breaker_open": 1.0}, "leaves storage alone"),
        ({"usable": 0.0}, "serves without storage"),
        ({"storage_write_failures": 2.0}, "2 writes failed"),
    ],
)
def test_why_nothing_was_stored_is_said(values, said):
    cause, remedy = diagnosis.why_not_stored(counters(**{"usable": 1.0, **values}))
    assert said in cause
    assert remedy


def test_a_pause_that_is_over_is_not_blamed():
    assert diagnosis.why_not_stored(counters(usable=1.0, pauses=("enospc",)))[0] == ""


def test_left_out_storage_is_told_from_the_servers_own_metrics(monkeypatch):
    b = FakeVllm({}, "other namespace")
    original, skipped_as_slower = b.complete, itertools.count(6, 6)

    def complete(request):
        if request["max_tokens"] == 6:
            b.more = f'{OWN}lookup_misses_total{{{TIER},reason="slower"}} {next(skipped_as_slower)}'
        return original(request)

    monkeypatch.setattr(b, "complete", complete)
    findings, _, _ = run(monkeypatch, b=b)
    assert "slower than computing (skip_slow_loads)" in findings["proof.reuse"].sentence
    assert findings["proof.reuse"].verdict.value == "inconclusive"  # nothing is known to be broken
    assert findings["proof.source"].verdict.value == "inconclusive"


@pytest.mark.parametrize("reason", ["slower", "slow", "deadline"])
def test_storage_that_was_slow_lately_is_given_another_try(monkeypatch, capsys, reason):
    """An upgrade right after sick storage, that rolls no pod: the servers still compute what they could load."""
    b = FakeVllm({})
    original = b.complete

    def complete(request):
        if request["max_tokens"] == 6:
            b.fault = "" if b.more else "other namespace"
            b.more = f'{OWN}lookup_misses_total{{{TIER},reason="{reason}"}} 6'
        return original(request)

    monkeypatch.setattr(b, "complete", complete)
    findings, block, _ = run(monkeypatch, b=b)
    assert findings["proof.reuse"].verdict.value == findings["proof.source"].verdict.value == "pass"
    assert block["reusedFraction"] == 1.0
    assert "once more with a new prompt in 10 s" in capsys.readouterr().out

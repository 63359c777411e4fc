# SPDX-License-Identifier: Apache-2.0
"""The proof beyond one pair in a cluster: by address, with a key, over https, with more replicas, with manifests."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import replace

import pytest

from llmd_storage_hooks.core import trust
from llmd_storage_hooks.core.config import from_json
from llmd_storage_hooks.core.errors import CollectError, ConfigError
from llmd_storage_hooks.proof import run as hook
from llmd_storage_hooks.proof.checks.identity import MOST, differences
from llmd_storage_hooks.proof.collect import manifests as on_disk
from llmd_storage_hooks.proof.collect.server import Credentials, Server
from llmd_storage_hooks.proof.config import ProofConfig
from tests.unit.hooks.fake_vllm import BLOCK, FakeVllm
from tests.unit.hooks.support import FakeClock, by_id, http_server, https_server
from tests.unit.hooks.test_output import llmd
from tests.unit.hooks.test_proof_run import FakeKube, pod

BASE = {"release": "r", "namespace": "n", "model": "m", "blockTokens": BLOCK, "promptBlocks": 6, "maxTokens": 6}


def test_two_addresses_need_no_cluster():
    storage = {}
    with http_server(FakeVllm(storage).answer) as a, http_server(FakeVllm(storage).answer) as b:
        got = llmd(
            *(
                "proof",
                "--url-a",
                a,
                "--url-b",
                b,
                "--model",
                "m",
                "--block-tokens",
                str(BLOCK),
                "--prompt-blocks",
                "6",
            ),
            *("--output", "json"),
            KUBECONFIG="/nowhere",
        )
    assert got.returncode == 0, got.stdout + got.stderr
    report = json.loads(got.stdout.strip().splitlines()[-1])
    verdicts = {one["id"]: one["verdict"] for one in report["findings"]}
    assert verdicts["proof.reuse"] == verdicts["proof.source"] == verdicts["proof.tokens"] == "pass"
    assert verdicts["proof.nodes"] == "skipped"
    assert report["proof"]["podB"] == b


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"urlA": "http://a"}, "belong together"),
        ({}, "podSelector is empty"),
        ({"urlA": "a:1", "urlB": "b:1"}, "must begin with http"),
        ({"urlA": "http://a", "urlB": "http://b", "apiKeyEnv": "sk-123"}, "name of an environment variable"),
        ({"podSelector": {"a": "b"}, "scheme": "ftp"}, "config.scheme"),
    ],
)
def test_addresses_that_cannot_be_meant(more, said):
    with pytest.raises(ConfigError, match=said):
        from_json(ProofConfig, {**BASE, **more})


def test_the_key_is_sent_and_never_shown(monkeypatch, capsys):
    storage, sent = {}, []
    original = Credentials.client
    monkeypatch.setattr(Credentials, "client", lambda self, seconds: sent.append(original(self, seconds)) or sent[-1])
    monkeypatch.setenv("MY_KEY", "top-secret")
    with http_server(FakeVllm(storage).answer) as url_a, http_server(FakeVllm(storage).answer) as url_b:
        config = from_json(ProofConfig, {**BASE, "urlA": url_a, "urlB": url_b, "apiKeyEnv": "MY_KEY"})
        outcome = hook.run(config, None, FakeClock())
    assert {one.headers["Authorization"] for one in sent} == {"Bearer top-secret"}
    assert "top-secret" not in capsys.readouterr().out + str(outcome)


def test_https_is_trusted_by_the_ca_and_the_name_in_the_certificate(tmp_path):
    with https_server(tmp_path, "kv.example", FakeVllm({}).answer) as (url, ca):
        named = Server(url, "m", 10, Credentials("", (str(ca),), "kv.example"))
        assert named.complete("a b", 2).good
        other = Server(url, "m", 10, Credentials("", (str(ca),))).complete("a b", 2)
        assert "doesn't match" in other.error or "mismatch" in other.error or "not valid for" in other.error, other
        assert "certificate verify failed" in Server(url, "m", 10).complete("a b", 2).error


def test_pods_with_tls_are_proven_by_the_one_name_in_their_certificate(tmp_path, monkeypatch):
    """As the chart has it: pods by their addresses, the Service in front of them by the same name."""
    storage = {}
    config = from_json(ProofConfig, {
        **BASE, "podSelector": {"x": "y"}, "scheme": "https", "serverName": "kv.example",
        "routerServerName": "kv.example", "caFiles": [str(tmp_path / "both.pem")],
    })  # fmt: skip
    with contextlib.ExitStack() as stack:
        served = {}
        for name in ("a", "b", "router"):
            (tmp_path / name).mkdir()
            served[name] = stack.enter_context(https_server(tmp_path / name, "kv.example", FakeVllm(storage).answer))
        (tmp_path / "both.pem").write_text("".join(ca.read_text() for _, ca in served.values()))
        original = hook._at
        pods = {f"https://10.0.0.{name}:8000": url for name, (url, _) in served.items()}
        monkeypatch.setattr(hook, "_at", lambda config, url, *more: original(config, pods.get(url, url), *more))
        outcome = hook.run(replace(config, router_url=served["router"][0]), FakeKube([pod("a"), pod("b")]), FakeClock())
    found = {one.id: one.verdict.value for one in outcome.findings}
    assert found["proof.reuse"] == found["proof.router.answer"] == "pass", found


def test_cas_of_ones_own_come_beside_the_public_ones(tmp_path):
    """A corporate CA must not take the hub's away."""
    with https_server(tmp_path, "kv.example", FakeVllm({}).answer) as (_, ca):
        public = len(trust.context([]).get_ca_certs())
        assert len(trust.context([str(ca)]).get_ca_certs()) == public + 1
        assert trust.main(str(tmp_path / "bundle"), str(ca)) is None
    text = (tmp_path / "bundle").read_text()
    assert ca.read_text() in text and text.count("BEGIN CERTIFICATE") > 100


def test_a_ca_bundle_that_is_none_is_said_where_the_pod_shows_it(tmp_path):
    (tmp_path / "empty").write_text("")
    for bad in ("empty", "none"):
        assert "correct the ConfigMap of global.caBundle" in trust.main(str(tmp_path / "bundle"), str(tmp_path / bad))
    assert not (tmp_path / "bundle").exists()


def test_a_ca_file_that_is_none_is_said(tmp_path):
    with pytest.raises(CollectError, match="holds no CA certificates"):
        Credentials(ca_files=(str(tmp_path / "none"),)).client(1)
    config = from_json(ProofConfig, {**BASE, "urlA": "https://a", "urlB": "https://b", "caFiles": ["/nowhere"]})
    (found,) = by_id(hook.run(config, None, FakeClock()).findings).values()
    assert (found.id, found.verdict) == ("proof.servers", "inconclusive")


def four(monkeypatch, **faults):
    """Four pods on one storage; the faults by name. Returns: findings by id, what each was asked."""
    storage, names = {}, ("a", "b", "c", "d")
    servers = {name: FakeVllm(storage, faults.get(name, "")) for name in names}
    with contextlib.ExitStack() as stack:
        urls = {f"10.0.0.{name}": stack.enter_context(http_server(one.answer)) for name, one in servers.items()}
        monkeypatch.setattr(hook, "_server", lambda config, observed: Server(urls[observed.ip], "m", 10))
        config = from_json(ProofConfig, {**BASE, "podSelector": {"x": "y"}, "maxReaders": 2 if faults else 1})
        pods = [pod(name, f"n{place % 2}") for place, name in enumerate(names)]
        outcome = hook.run(config, FakeKube(pods), FakeClock())
    return by_id(outcome.findings), servers


def test_with_more_replicas_the_further_ones_read_as_well(monkeypatch):
    findings, servers = four(monkeypatch)
    found = findings["proof.readers"]
    assert found.verdict == "pass"
    assert "1 further pod(s)" in found.sentence and "(1 more were not asked)" in found.sentence
    assert len([one for one in servers["c"].requests if one["max_tokens"] == 6]) == 1
    assert servers["d"].requests == []


@pytest.mark.parametrize(
    ("fault", "verdict", "said"),
    [
        ("other namespace", "fail", "As for d (B here): B took only 0"),
        ("wrong tokens", "fail", "d's answer differs from A's"),
        ("http 500", "fail", "engine is dead"),
        ("busy", "inconclusive", "As for d (B here)"),
        ("cpu tier", "fail", "CPU tier"),
    ],
)
def test_a_further_replica_that_does_not_read_is_named(monkeypatch, fault, verdict, said):
    findings, _ = four(monkeypatch, d=fault)
    found = findings["proof.readers"]
    assert found.verdict == verdict
    assert found.sentence.startswith("1 of 2 further pods did not take A's prompt from storage.")
    assert said in found.sentence
    assert found.remedy


def manifest(root, name, age, **fields):
    folder = root / name
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps({"fields": {"dtype": "float32", **fields}}))
    os.utime(folder / "manifest.json", (age, age))


def test_the_identity_field_that_keeps_two_pods_apart_is_named(monkeypatch, tmp_path):
    manifest(tmp_path, "old", 1, dtype="float16")
    manifest(tmp_path, "a", 2, attention={"backend": "FLASH"}, block={"size": 32})
    manifest(tmp_path, "b", 3, attention={"backend": "FLEX"}, block={"size": 32})
    storage = {}
    with http_server(FakeVllm(storage).answer) as a, http_server(FakeVllm(storage, "other namespace").answer) as b:
        config = from_json(ProofConfig, {**BASE, "urlA": a, "urlB": b, "claimPath": str(tmp_path)})
        found = by_id(hook.run(config, None, FakeClock()).findings)["proof.reuse"]
    assert "the two used last differ in attention.backend (FLASH / FLEX)." in found.sentence
    assert "Make these equal" in found.remedy


def test_manifests_that_are_not_there_or_not_readable_change_nothing(tmp_path):
    assert on_disk.last_two(str(tmp_path / "none")) == []
    manifest(tmp_path, "a", 1)
    assert len(on_disk.last_two(str(tmp_path))) == 1
    (tmp_path / "a" / "manifest.json").write_text("[")
    assert on_disk.last_two(str(tmp_path)) == []


def test_many_differences_are_counted():
    one = {"fields": {f"k{number}": number for number in range(9)}}
    other = {"fields": {f"k{number}": "x" * 100 for number in range(8)}}
    found = differences(one, other)
    assert len(found) == MOST + 1
    assert found[-1] == "3 more"
    assert found[0].startswith("k0 (0 / xxx") and found[0].endswith("...)")
    assert differences(one, one) == ()

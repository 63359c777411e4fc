# SPDX-License-Identifier: Apache-2.0
"""The API edge, against an HTTP server: odd answers and refusals become facts, never tracebacks."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest

from llmd_storage_hooks.core.errors import CollectError, Forbidden, NotFound, Unreachable
from llmd_storage_hooks.core.kube import objects, quantities
from llmd_storage_hooks.core.kube import parse as kube_parse
from llmd_storage_hooks.core.kube.api import Kube
from llmd_storage_hooks.preflight import facts as f
from llmd_storage_hooks.preflight import parse
from llmd_storage_hooks.preflight.config import Accelerator, Crd, PreflightConfig, SecretRef, Storage
from llmd_storage_hooks.preflight.run import collect, run
from tests.unit.hooks.support import http_server

CONFIG = PreflightConfig(
    release="demo",
    namespace="ns",
    crds=(
        Crd(name="gateways.gateway.networking.k8s.io", version="v1"),
        Crd(name="podmonitors.monitoring.coreos.com", version="v1"),
    ),
    gateway_class="istio",
    storage=Storage(claim_name="demo-kv-cache"),
    secrets=(SecretRef(name="hf", key="HF_TOKEN"), SecretRef(name="other", key="k")),
    accelerator=Accelerator(resource="nvidia.com/gpu", per_pod=1, replicas=1),
)
WORLD = {
    "/version": {"gitVersion": "v1.36.2+lab", "major": "1", "minor": "36+"},
    "/apis/gateway.networking.k8s.io": {"versions": [{"version": "v1"}, {"version": "v1beta1"}]},
    "/apis/gateway.networking.k8s.io/v1": {"resources": [{"name": "gateways"}, {"name": "gateways/status"}]},
    "/apis/gateway.networking.k8s.io/v1/gatewayclasses/istio": {
        "metadata": {"name": "istio"},
        "spec": {"controllerName": "istio.io/gateway-controller"},
        "status": {"conditions": [{"type": "Accepted", "status": "True"}]},
    },
    "/apis/storage.k8s.io/v1/storageclasses": {
        "items": [
            {
                "metadata": {
                    "name": "cephfs",
                    "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
                },
                "provisioner": "cephfs.csi.ceph.com",
                "parameters": {"fsName": "kv"},
                "volumeBindingMode": "WaitForFirstConsumer",
                "allowVolumeExpansion": True,
            }
        ]
    },
    "/api/v1/namespaces/ns/persistentvolumeclaims/demo-kv-cache": {
        "metadata": {"name": "demo-kv-cache", "deletionTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "storageClassName": "cephfs",
            "resources": {"requests": {"storage": "10Gi"}},
        },
        "status": {"phase": "Bound", "capacity": {"storage": "10Gi"}},
    },
    "/api/v1/namespaces/ns/secrets/hf": {
        "metadata": {"name": "hf"},
        "data": {"HF_TOKEN": base64.b64encode(b"hf_verysecret").decode(), "none": ""},
    },
    "/api/v1/nodes": {
        "items": [
            {
                "metadata": {"name": "n1"},
                "spec": {},
                "status": {
                    "allocatable": {"nvidia.com/gpu": "8", "cpu": "31800m", "memory": "250Gi"},
                    "conditions": [{"type": "Ready", "status": "True"}],
                },
            }
        ]
    },
}


def kube_at(url: str, timeout_s: float = 5.0) -> Kube:
    import kubernetes

    configuration = kubernetes.client.Configuration()
    configuration.host = url
    configuration.retries = 0
    return Kube(kubernetes.client.ApiClient(configuration), timeout_s)


def serve(world, refused=()):
    def answer(method, path, body):
        path = path.partition("?")[0]
        if path in refused:
            return 403, json.dumps({"message": f"cannot read {path}"}).encode()
        if path not in world:
            return 404, json.dumps({"message": "not found"}).encode()
        return 200, json.dumps(world[path]).encode()

    return http_server(answer)


def test_facts_of_a_whole_cluster():
    with serve(WORLD) as url:
        observed = collect(CONFIG, kube_at(url))
    assert observed.version == f.ClusterVersion("v1.36.2+lab", 1, 36)
    assert observed.crds["gateways.gateway.networking.k8s.io/v1"].resources >= {"gateways"}
    assert observed.crds["podmonitors.monitoring.coreos.com/v1"] == objects.Absent()
    assert observed.gateway_class == f.GatewayClass("istio", "istio.io/gateway-controller", True, "")
    assert observed.classes[0].is_default
    assert observed.classes[0].binding_mode == "WaitForFirstConsumer"
    assert observed.claim.requested_bytes == 10 * 1024**3
    assert observed.claim.deleting
    assert observed.secrets["hf"].keys == {"HF_TOKEN", "none"}
    assert observed.secrets["hf"].empty_keys == {"none"}
    assert observed.secrets["other"] == objects.Absent()
    assert observed.nodes[0].allocatable["nvidia.com/gpu"] == 8


def test_a_secrets_content_reaches_no_fact_and_no_finding():
    with serve(WORLD) as url:
        outcome = run(CONFIG, kube_at(url))
    everything = repr(outcome) + repr(parse.secret_keys(WORLD["/api/v1/namespaces/ns/secrets/hf"]))
    assert "verysecret" not in everything
    assert base64.b64encode(b"hf_verysecret").decode() not in everything


def test_reads_that_rbac_denies_are_said_and_the_others_go_on():
    refused = {"/api/v1/nodes", "/api/v1/namespaces/ns/secrets/hf", "/apis/storage.k8s.io/v1/storageclasses"}
    with serve(WORLD, refused) as url:
        findings = {one.id: one for one in run(CONFIG, kube_at(url)).findings}
    for name in ("preflight.accelerator.count", "preflight.secret.hf", "preflight.storageclass.exists"):
        assert findings[name].verdict.value == "warn"
        assert "Could not check" in findings[name].sentence
        assert "not allowed" in findings[name].sentence
    assert findings["preflight.crd.gateways"].verdict.value == "pass"


def test_no_api_server_is_inconclusive_not_a_traceback():
    with serve(WORLD) as url:
        dead = url
    findings = run(CONFIG, kube_at(dead)).findings
    assert findings[0].verdict.value == "inconclusive"
    assert "did not answer" in findings[0].sentence


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (404, b'{"message": "gone"}', NotFound),
        (403, b"no json", Forbidden),
        (401, b'{"message": "who?"}', Forbidden),
        (500, b'["a list"]', CollectError),
        (200, b"not json", CollectError),
    ],
)
def test_refusals(status, body, error):
    with http_server(lambda *_: (status, body)) as url, pytest.raises(error) as caught:
        kube_at(url).get("/x")
    assert "\n" not in str(caught.value)


def test_foreign_text_is_cut():
    body = json.dumps({"message": "x" * 5000}).encode()
    with http_server(lambda *_: (500, body)) as url, pytest.raises(CollectError) as caught:
        kube_at(url).get("/x")
    assert len(str(caught.value)) < 400


def test_a_silent_server_is_given_up(monkeypatch):
    import time

    def slow(*_):
        time.sleep(1.5)
        return 200, b"{}"

    with http_server(slow) as url, pytest.raises(Unreachable):
        kube_at(url, timeout_s=0.2).get("/x")


def test_no_credentials_is_unreachable(monkeypatch, tmp_path):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    with pytest.raises(Unreachable):
        Kube.connect()


def test_the_claims_namespace_is_the_configs():
    asked = []

    def answer(method, path, body):
        asked.append(path)
        return 200, json.dumps(WORLD.get(path, {})).encode()

    with http_server(answer) as url:
        collect(CONFIG, kube_at(url))
    assert "/api/v1/namespaces/ns/persistentvolumeclaims/demo-kv-cache" in asked


@pytest.mark.parametrize(
    ("raw", "expected"),
    [("10Gi", 10 * 1024**3), ("1T", 10**12), (5, 5), ("500m", 0), ("", None), (None, None), ("many", None)],
)
def test_quantity(raw, expected):
    assert quantities.quantity(raw) == expected


@pytest.mark.parametrize("raw", [{}, {"metadata": None, "spec": [], "status": "x"}, {"items": "no"}])
def test_odd_objects_give_empty_facts(raw):
    assert kube_parse.items(raw) == []
    assert kube_parse.claim(raw).access_modes == ()
    assert parse.storage_class(raw).provisioner == ""
    assert parse.secret_keys(raw).keys == frozenset()
    assert parse.node(raw).ready is False
    assert kube_parse.pod(raw).ready is False
    assert parse.gateway_class(raw).accepted is False
    assert parse.group_versions(raw) == ()


def test_patch_goes_out_as_a_merge_patch():
    observed = {}

    def answer(method, path, body):
        observed.update(method=method, path=path, body=json.loads(body))
        return 200, b"{}"

    with http_server(answer) as url:
        kube_at(url).merge_patch("/api/v1/namespaces/ns/configmaps/c", {"data": {"a": "b"}})
    assert observed == {"method": "PATCH", "path": "/api/v1/namespaces/ns/configmaps/c", "body": {"data": {"a": "b"}}}


def test_the_volume_of_a_claim_of_the_users_own_is_read_and_no_other():
    claim = {"metadata": {"name": "team"}, "spec": {"volumeName": "pv-7"}, "status": {"phase": "Bound"}}
    world = {
        **WORLD,
        "/api/v1/namespaces/ns/persistentvolumeclaims/team": claim,
        "/api/v1/persistentvolumes/pv-7": {"metadata": {"name": "pv-7"}, "spec": {"csi": {"driver": "d.example.com"}}},
    }
    with serve(world) as url:
        own = collect(replace(CONFIG, storage=Storage(existing_claim="team")), kube_at(url))
        made = collect(CONFIG, kube_at(url))
    assert own.volume == f.StorageClass("pv-7", "d.example.com")
    assert made.volume is None

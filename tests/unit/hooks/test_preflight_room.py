# SPDX-License-Identifier: Apache-2.0
"""Whether the pods have a place: a user who is not told waits an hour for pods that can never be scheduled."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from llmd_storage_hooks.core.kube import objects, quantities
from llmd_storage_hooks.preflight import facts as f
from llmd_storage_hooks.preflight import parse
from llmd_storage_hooks.preflight.checks import claims, namespaces, nodes, secrets
from llmd_storage_hooks.preflight.config import Accelerator, PreflightConfig, SecretRef, Storage, Toleration, Workload
from llmd_storage_hooks.preflight.run import collect, run
from tests.unit.hooks.support import by_id
from tests.unit.hooks.test_collect_kube import WORLD, kube_at, serve
from tests.unit.hooks.test_preflight_checks import claim, verdict

GI = 1024**3
UNKNOWN = objects.Unknown("not allowed (nodes)")
GPU_TAINT = f.Taint("nvidia.com/gpu", "present", "NoSchedule")
WORK = Workload(replicas=2, requests={"memory": "200Gi", "cpu": "8"}, shm_size="104Gi", cpu_tier_size="100Gi")


def node(name, memory=256, cpu=32, labels=None, taints=(), **more):
    return f.Node(name, True, True, {"memory": memory * GI, "cpu": cpu * 1000, **more}, labels or {}, tuple(taints))


@pytest.mark.parametrize(
    ("toleration", "tolerated"),
    [
        (Toleration(key="nvidia.com/gpu", value="present", effect="NoSchedule"), True),
        (Toleration(key="nvidia.com/gpu", operator="Exists"), True),
        (Toleration(operator="Exists"), True),
        (Toleration(key="nvidia.com/gpu", value="other"), False),
        (Toleration(key="other", operator="Exists"), False),
        (Toleration(key="nvidia.com/gpu", operator="Exists", effect="NoExecute"), False),
    ],
)
def test_tolerations_are_read_as_kubernetes_reads_them(toleration, tolerated):
    assert nodes.tolerates(toleration, GPU_TAINT) is tolerated


def test_tainted_nodes_are_named_with_their_taints():
    there = (node("a", taints=[GPU_TAINT]), node("b"))
    finding = nodes.taints(WORK, there)
    assert verdict(finding) == "warn"
    assert "a: nvidia.com/gpu=present:NoSchedule" in finding.sentence
    assert "modelserver.tolerations" in finding.remedy
    assert verdict(nodes.taints(WORK, (there[0],))) == "fail"
    tolerant = replace(WORK, tolerations=(Toleration(operator="Exists"),))
    assert verdict(nodes.taints(tolerant, there)) == "pass"


def test_a_selector_that_no_node_has_is_said():
    finding = nodes.taints(replace(WORK, node_selector={"pool": "gpu"}), (node("a"), node("b", labels={"pool": "x"})))
    assert verdict(finding) == "fail"
    assert "pool=gpu" in finding.sentence
    assert "nodeSelector" in finding.remedy


def test_accelerators_behind_a_taint_do_not_count():
    wanted = Accelerator(resource="nvidia.com/gpu", per_pod=1, replicas=1)
    there = (node("a", taints=[GPU_TAINT], **{"nvidia.com/gpu": 8}),)
    assert verdict(nodes.accelerators(wanted, there, WORK)) == "fail"
    assert verdict(nodes.accelerators(wanted, there)) == "pass"


@pytest.mark.parametrize(
    ("work", "there", "expected", "said"),
    [
        (WORK, (node("a"), node("b")), "pass", "200Gi memory and 8 CPU"),
        (WORK, (node("a", memory=512),), "pass", "room for 2"),
        (WORK, (node("a"), node("b", memory=100)), "fail", "the largest has 256Gi memory"),
        (WORK, (node("a"), node("b", cpu=4)), "fail", "256Gi memory, 32 CPU"),
        (WORK, (), "fail", "room for 0"),
        (replace(WORK, requests={}, limits={"memory": "300Gi"}), (node("a"), node("b")), "fail", "300Gi"),
        (replace(WORK, requests={}), (node("a"),), "skipped", "neither"),
        (WORK, UNKNOWN, "warn", "Could not check"),
    ],
)
def test_room(work, there, expected, said):
    finding = nodes.room(work, parse.resource_requests(work), there)
    assert verdict(finding) == expected
    assert said in finding.sentence


@pytest.mark.parametrize(
    ("changes", "expected", "said"),
    [
        ({}, "pass", "fits"),
        ({"shm_size": "64Gi"}, "fail", "less than the CPU tier of 100Gi"),
        ({"limits": {"memory": "90Gi"}}, "fail", "OOMKilled"),
        ({"requests": {"memory": "64Gi"}}, "warn", "CPU tier alone takes 100Gi"),
        ({"requests": {}, "limits": {"memory": "150Gi"}}, "pass", "fits"),
        ({"cpu_tier_size": ""}, "skipped", "no CPU tier"),
    ],
)
def test_shared_memory(changes, expected, said):
    finding = nodes.shared_memory(parse.resource_requests(replace(WORK, **changes)))
    assert verdict(finding) == expected
    assert said in finding.sentence


def quota(hard, used=None):
    return f.Quota("team", quantities.amounts(hard), quantities.amounts(used or {}))


@pytest.mark.parametrize(
    ("quotas", "expected", "said"),
    [
        ((), "pass", "no ResourceQuota"),
        ((quota({"requests.memory": "400Gi", "pods": "10"}),), "pass", "fits"),
        ((quota({"requests.memory": "300Gi"}),), "fail", "allows requests.memory 300Gi; the release needs"),
        ((quota({"memory": "300Gi"}),), "fail", "memory 300Gi"),
        ((quota({"cpu": "10"}),), "fail", "cpu 10"),
        ((quota({"requests.storage": "1Ti"}),), "fail", "requests.storage"),
        ((quota({"requests.nvidia.com/gpu": "1"}),), "fail", "requests.nvidia.com/gpu 1"),
        ((quota({"persistentvolumeclaims": "0"}),), "fail", "persistentvolumeclaims 0"),
        ((quota({"limits.memory": "1Ti"}),), "fail", "do not set it"),
        ((quota({"pods": "3"}, {"pods": "2"}),), "warn", "2 are used"),
        (objects.Unknown("not allowed (quota)"), "warn", "Could not check"),
    ],
)
def test_quota(quotas, expected, said):
    work = parse.resource_requests(replace(WORK, requests={**WORK.requests, "nvidia.com/gpu": "2"}))
    finding = namespaces.quota(namespaces.needs(work, 2 * 1024**4), work, quotas)
    assert verdict(finding) == expected
    assert said in finding.sentence


def test_a_default_limit_satisfies_a_quota_on_limits():
    resources, one = parse.resource_requests(WORK), quota({"limits.memory": "1Ti"})
    assert (
        verdict(namespaces.quota(namespaces.needs(resources, None), resources, (one,), frozenset({"limits.memory"})))
        == "pass"
    )


def limit(kind="Container", **amounts):
    return f.Limit(
        "bounds", kind, **{key: quantities.amounts(amounts.get(key, {})) for key in ("min", "max", "default")}
    )


@pytest.mark.parametrize(
    ("limits", "expected", "said"),
    [
        ((), "pass", "no LimitRange"),
        ((limit(max={"memory": "256Gi"}),), "pass", "keeps to"),
        ((limit(max={"memory": "64Gi"}),), "fail", "allows memory 64Gi at most; a model server has memory 200Gi"),
        ((limit(min={"cpu": "16"}),), "fail", "asks for cpu 16 at least"),
        ((limit(default={"memory": "512Mi"}),), "fail", "without a limit one of memory 0.5Gi"),
        ((limit("Pod", max={"cpu": "2"}),), "fail", "cpu 2 at most"),
        ((limit("PersistentVolumeClaim", max={"storage": "1Ti"}),), "fail", "the claim has storage 2048Gi"),
        ((limit("PersistentVolumeClaim", min={"storage": "1Ti"}),), "pass", "keeps to"),
        (objects.Unknown("not allowed (limits)"), "warn", "Could not check"),
    ],
)
def test_limit_ranges(limits, expected, said):
    finding = namespaces.limit_range(parse.resource_requests(WORK), 2 * 1024**4, limits)
    assert verdict(finding) == expected
    assert said in finding.sentence


ENFORCE = "pod-security.kubernetes.io/enforce"


@pytest.mark.parametrize(
    ("fits", "observed", "expected"),
    [
        ("restricted", f.Namespace("ns", {ENFORCE: "restricted"}), "pass"),
        ("baseline", f.Namespace("ns", {ENFORCE: "restricted"}), "fail"),
        ("privileged", f.Namespace("ns", {ENFORCE: "baseline"}), "fail"),
        ("baseline", f.Namespace("ns", {}), "pass"),
        ("baseline", f.Namespace("ns", {ENFORCE: "odd"}), "pass"),
        ("baseline", objects.Absent(), "skipped"),
        ("baseline", objects.Unknown("no"), "warn"),
    ],
)
def test_pod_security(fits, observed, expected):
    assert verdict(namespaces.pod_security(fits, observed)) == expected


def test_a_pull_secret_gets_the_command_for_one():
    wanted = SecretRef(name="pull", key=".dockerconfigjson", required=False, needed_for="global.imagePullSecrets")
    finding = secrets.secret(wanted, objects.Absent(), "ns")
    assert verdict(finding) == "warn"
    assert "kubectl create secret docker-registry pull --namespace ns" in finding.remedy


def test_a_claim_of_another_release_is_never_taken_over():
    assert claims.other_releases_claim(claim(release="demo"), "demo") is None
    assert claims.other_releases_claim(claim(), "demo") is None
    finding = claims.other_releases_claim(claim(release="other"), "demo")
    assert verdict(finding) == "fail"
    assert 'belongs to the release "other"' in finding.sentence
    assert "storage.existingClaim" in finding.remedy


def test_who_uses_a_claim_now_is_said():
    finding = claims.existing_claim(Storage(existing_claim="kv"), claim(), None, ("a", "b"))
    assert "2 pod(s) use it now" in finding.sentence
    assert finding.observed["users"] == ["a", "b"]
    unread = claims.existing_claim(Storage(existing_claim="kv"), claim(), None, objects.Unknown("not allowed"))
    assert verdict(unread) == "pass"
    assert unread.observed["users"] == "not allowed"


CONFIG = PreflightConfig(
    release="demo",
    namespace="ns",
    storage=Storage(claim_name="demo-kv-cache", storage_class_name="cephfs", size="10Gi"),
    workload=WORK,
    pod_security="baseline",
)
CORE = "/api/v1/namespaces/ns"
MORE = {
    **WORLD,
    f"{CORE}/persistentvolumeclaims/demo-kv-cache": {
        "metadata": {"name": "demo-kv-cache"},
        "spec": {"accessModes": ["ReadWriteMany"], "storageClassName": "cephfs"},
        "status": {"phase": "Bound"},
    },
    CORE: {"metadata": {"name": "ns", "labels": {ENFORCE: "restricted"}}},
    f"{CORE}/resourcequotas": {
        "items": [
            {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "1"}}, "status": {"used": {"pods": "1"}}},
            {"metadata": {"name": "best-effort"}, "spec": {"hard": {"pods": "0"}, "scopes": ["BestEffort"]}},
        ]
    },
    f"{CORE}/limitranges": {
        "items": [{"metadata": {"name": "l"}, "spec": {"limits": [{"type": "Container", "max": {"cpu": "500m"}}]}}]
    },
    f"{CORE}/pods": {
        "items": [
            {
                "metadata": {"name": name},
                "spec": {"volumes": [{"persistentVolumeClaim": {"claimName": "demo-kv-cache"}}]},
                "status": {"phase": phase},
            }
            for name, phase in (("a", "Running"), ("done", "Succeeded"))
        ]
    },
    "/api/v1/nodes": {
        "items": [
            {
                "metadata": {"name": "n1", "labels": {"pool": "x"}},
                "spec": {"taints": [{"key": "k", "effect": "NoSchedule"}, {"key": "s", "effect": "PreferNoSchedule"}]},
                "status": {
                    "allocatable": {"cpu": "31800m", "memory": "250Gi"},
                    "conditions": [{"type": "Ready", "status": "True"}],
                },
            }
        ]
    },
}


def test_facts_of_namespace_and_nodes():
    with serve(MORE) as url:
        observed = collect(CONFIG, kube_at(url))
    assert observed.quotas == (
        f.Quota("q", {"pods": 1}, {"pods": 1}),
        f.Quota("best-effort", {"pods": 0}, {}, (f.Scope("BestEffort"),)),
    )
    assert observed.limits == (f.Limit("l", "Container", {}, {"cpu": 500}, {}),)
    assert observed.namespace.labels == {ENFORCE: "restricted"}
    assert observed.claim_users == ("a",)
    assert observed.nodes[0].allocatable["cpu"] == 31800
    assert [str(one) for one in observed.nodes[0].taints] == ["k:NoSchedule"]


def test_each_of_them_fails_with_its_own_sentence():
    with serve(MORE) as url:
        findings = by_id(run(CONFIG, kube_at(url)).findings)
    bad = {name for name, one in findings.items() if one.verdict.value == "fail"}
    assert bad == {
        "preflight.nodes.taints",
        "preflight.nodes.room",
        "preflight.namespace.quota",
        "preflight.namespace.limits",
        "preflight.namespace.podsecurity",
    }
    assert findings["preflight.memory.shm"].verdict.value == "pass"


def test_without_rights_each_says_could_not_check():
    refused = {CORE, f"{CORE}/resourcequotas", f"{CORE}/limitranges", f"{CORE}/pods", "/api/v1/nodes"}
    with serve(MORE, refused) as url:
        findings = by_id(run(CONFIG, kube_at(url)).findings)
    for name in ("nodes.taints", "nodes.room", "namespace.quota", "namespace.limits", "namespace.podsecurity"):
        assert findings[f"preflight.{name}"].verdict.value == "warn"
        assert "Could not check" in findings[f"preflight.{name}"].sentence
    assert not [one for one in findings.values() if one.verdict.value == "fail"]


def test_the_charts_tolerations_are_taken_as_kubernetes_has_them():
    from llmd_storage_hooks.core.config import parse as parse_config

    raw = {
        "release": "r",
        "namespace": "n",
        "workload": {
            "tolerations": [{"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}]
        },
    }
    assert parse_config(PreflightConfig, json.dumps(raw)).workload.tolerations[0].toleration_seconds == 60

# SPDX-License-Identifier: Apache-2.0
"""Clusters as their API servers show them, by path: what the preflight says of each, from reading to verdict."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from llmd_storage_hooks.core.errors import NotFound
from llmd_storage_hooks.core.kube.objects import Unknown
from llmd_storage_hooks.preflight.collect import without_cluster
from llmd_storage_hooks.preflight.config import (
    Accelerator,
    Crd,
    DeviceClaim,
    PreflightConfig,
    Storage,
    Toleration,
    Workload,
)
from llmd_storage_hooks.preflight.run import check, run
from tests.unit.hooks.support import by_id

CORE = "/api/v1/namespaces/ns"
CLASSES = "/apis/storage.k8s.io/v1/storageclasses"


class Recorded:
    """An API server that knows these paths alone; a list stands for its items."""

    def __init__(self, objects: dict[str, Any]) -> None:
        nothing = {f"{CORE}/{kind}": [] for kind in ("pods", "resourcequotas", "limitranges")}
        self._objects = {"/version": {"major": "1", "minor": "36", "gitVersion": "v1.36.1"}, **nothing, **objects}

    def get(self, path: str, query: dict[str, str] | None = None) -> Any:
        if path not in self._objects:
            raise NotFound(path)
        found = self._objects[path]
        return {"items": found} if isinstance(found, list) else found

    def text(self, path: str, query: dict[str, str] | None = None) -> str:
        raise NotFound(path)

    def merge_patch(self, path: str, body: dict[str, Any]) -> None:
        raise AssertionError("the preflight writes nothing")


def gpu_node(name: str, taint: str = "", *labels: str) -> dict[str, Any]:
    key, _, value = taint.partition("=")
    taints = [{"key": key, "value": value, "effect": "NoSchedule"}] if taint else []
    return {
        "metadata": {"name": name, "labels": dict.fromkeys(labels, "gpu")},
        "spec": {"taints": taints},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "allocatable": {"cpu": "96", "memory": "1Ti", "nvidia.com/gpu": "8", "google.com/tpu": "4"},
        },
    }


def a_class(name: str, provisioner: str, created: str = "", default: bool = True, **parameters: str) -> dict[str, Any]:
    notes = {"storageclass.kubernetes.io/is-default-class": "true"} if default else {}
    meta = {"name": name, "annotations": notes, **({"creationTimestamp": created} if created else {})}
    return {"metadata": meta, "provisioner": provisioner, "parameters": parameters}


def a_claim(name: str, *modes: str, volume_mode: str = "Filesystem", phase: str = "Bound") -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "spec": {"accessModes": list(modes), "volumeMode": volume_mode, "resources": {"requests": {"storage": "2Ti"}}},
        "status": {"phase": phase, "capacity": {"storage": "2Ti"}},
    }


GPU = {"cpu": "8", "memory": "200Gi", "nvidia.com/gpu": "2"}
CONFIG = PreflightConfig(
    release="demo",
    namespace="ns",
    storage=Storage(claim_name="demo-kv-cache", size="2Ti"),
    accelerator=Accelerator(resource="nvidia.com/gpu", per_pod=2, replicas=2),
    workload=Workload(replicas=2, requests=GPU, limits={"nvidia.com/gpu": "2"}),
)
SHARED = {CLASSES: [a_class("shared", "nfs.csi.k8s.io")], "/api/v1/nodes": [gpu_node("a"), gpu_node("b")]}


def verdicts(config: PreflightConfig, **objects: Any) -> dict[str, tuple[str, str]]:
    """What is not a pass: verdict and sentence by check."""
    found = by_id(run(config, Recorded({**SHARED, **objects})).findings)
    return {
        name: (one.verdict.value, one.sentence)
        for name, one in found.items()
        if one.verdict.value not in ("pass", "skipped")
    }


def test_a_healthy_cluster_is_let_pass() -> None:
    assert verdicts(CONFIG) == {}


def test_a_raw_block_device_is_no_claim_for_files() -> None:
    """ReadWriteMany is all that RBD in Block mode shares with a shared filesystem: the pods would never start."""
    config = replace(CONFIG, storage=Storage(existing_claim="team", size="2Ti"))
    path = f"{CORE}/persistentvolumeclaims/team"
    said = verdicts(config, **{path: a_claim("team", "ReadWriteMany", volume_mode="Block")})
    assert said["preflight.claim.usable"][0] == "fail"
    assert "volumeMode Block" in said["preflight.claim.usable"][1]
    assert verdicts(config, **{path: a_claim("team", "ReadWriteMany")}) == {}


@pytest.mark.parametrize(
    ("newest", "expected"), [("a-shared", None), ("z-block", "fail")], ids=["the shared one", "the block one"]
)
def test_of_two_default_classes_the_newest_is_judged(newest: str, expected: str | None) -> None:
    """The one that the API server will give the claim, wherever it is in the list."""
    at = {
        name: "2026-06-01T08:00:00Z" if name == newest else "2025-03-01T08:00:00Z" for name in ("a-shared", "z-block")
    }
    classes = [
        a_class("a-shared", "nfs.csi.k8s.io", at["a-shared"]),
        a_class("z-block", "ebs.csi.aws.com", at["z-block"]),
    ]
    said = verdicts(CONFIG, **{CLASSES: classes})
    assert f'takes "{newest}"' in said["preflight.storageclass.exists"][1]
    assert said.get("preflight.storageclass.rwx", (None, ""))[0] == expected


@pytest.mark.parametrize(
    ("claim", "replicas", "expected", "words"),
    [
        (
            a_claim("store", "ReadWriteOnce"),
            2,
            "fail",
            "ReadWriteOnce, so it can be mounted on one node only; there are 2",
        ),
        (a_claim("store", "ReadWriteOncePod"), 2, "fail", "one node only"),
        (a_claim("store", "ReadWriteOnce"), 1, None, ""),
        (a_claim("store", "ReadOnlyMany"), 2, None, ""),
        (a_claim("store", "ReadWriteOnce", "ReadOnlyMany"), 2, None, ""),
        (a_claim("store", "ReadWriteMany", volume_mode="Block"), 2, "fail", "volumeMode Block"),
        (a_claim("store", "ReadWriteMany", phase="Lost"), 2, "fail", "lost its volume"),
        (a_claim("store", "ReadWriteMany", phase="Pending"), 2, "warn", "not bound yet"),
        (None, 2, "fail", "no such claim"),
    ],
)
def test_the_claim_of_the_model_is_mounted_by_every_replica(
    claim: dict[str, Any] | None, replicas: int, expected: str | None, words: str
) -> None:
    """Else the second replica waits for its volume until the install's time is over."""
    config = replace(CONFIG, model_claim="store", workload=replace(CONFIG.workload, replicas=replicas))
    there = {f"{CORE}/persistentvolumeclaims/store": claim} if claim else {}
    verdict, sentence = verdicts(config, **there).get("preflight.claim.model", (None, ""))
    assert verdict == expected
    assert words in sentence
    assert not expected or '"store"' in sentence


@pytest.mark.parametrize(
    ("labels", "taint", "resource", "passes"),
    [
        (("cloud.google.com/gke-nodepool",), "nvidia.com/gpu=present", "nvidia.com/gpu", True),
        (("cloud.google.com/gke-nodepool",), "google.com/tpu=present", "google.com/tpu", True),
        (("cloud.google.com/gke-nodepool",), "team=other", "nvidia.com/gpu", False),
        (("eks.amazonaws.com/nodegroup",), "nvidia.com/gpu=present", "nvidia.com/gpu", False),
    ],
)
def test_a_taint_that_gke_tolerates_by_itself_keeps_nobody_out(
    labels: tuple[str, ...], taint: str, resource: str, passes: bool
) -> None:
    there = {"/api/v1/nodes": [gpu_node(name, taint, *labels) for name in ("a", "b")]}
    config = replace(
        CONFIG,
        accelerator=Accelerator(resource=resource, per_pod=2, replicas=2),
        workload=Workload(replicas=2, requests={"cpu": "8"}, limits={resource: "2"}),
    )
    said = verdicts(config, **there)
    assert ("preflight.nodes.taints" not in said) == passes
    assert ("preflight.accelerator.count" not in said) == passes
    tolerant = replace(config.workload, tolerations=(Toleration(operator="Exists"),))
    assert verdicts(replace(config, workload=tolerant), **there) == {}


def quota(hard: dict[str, str], scopes: list[str] | None = None, selector: dict[str, Any] | None = None) -> list[Any]:
    spec: dict[str, Any] = {"hard": hard}
    if scopes:
        spec["scopes"] = scopes
    if selector:
        spec["scopeSelector"] = {"matchExpressions": [selector]}
    return [{"metadata": {"name": "team"}, "spec": spec, "status": {"used": {}}}]


OF_SHARED = "shared.storageclass.storage.k8s.io/"
IN_LOW = {"scopeName": "PriorityClass", "operator": "In", "values": ["low"]}


@pytest.mark.parametrize(
    ("quotas", "fails_by"),
    [
        (quota({f"{OF_SHARED}requests.storage": "1Ti"}), f"{OF_SHARED}requests.storage 1024Gi"),
        (quota({f"{OF_SHARED}persistentvolumeclaims": "0"}), f"{OF_SHARED}persistentvolumeclaims 0"),
        (quota({"gold.storageclass.storage.k8s.io/requests.storage": "0"}), ""),
        (quota({"count/persistentvolumeclaims": "0"}), "count/persistentvolumeclaims 0"),
        (quota({"count/pods": "1"}), "count/pods 1"),
        (quota({"count/deployments.apps": "0"}), "count/deployments.apps 0"),
        (quota({"count/cronjobs.batch": "0"}), ""),
        (quota({"pods": "1"}, ["NotTerminating"]), "pods 1"),
        (quota({"pods": "1"}, ["Terminating"]), ""),
        (quota({"pods": "1"}, ["NotBestEffort"]), "pods 1"),
        (quota({"pods": "0"}, ["BestEffort"]), ""),
        (quota({"pods": "1"}, selector=IN_LOW), "pods 1"),
        (quota({"pods": "1"}, selector={**IN_LOW, "values": ["high"]}), ""),
        (quota({"pods": "1"}, selector={**IN_LOW, "operator": "NotIn"}), ""),
        (quota({"pods": "1"}, selector={"scopeName": "PriorityClass", "operator": "Exists"}), "pods 1"),
        (quota({"limits.ephemeral-storage": "1Ti"}), ""),  # no pod has to say a limit of this
        (quota({"limits.memory": "1Ti"}), "limits.memory, so it refuses"),
    ],
)
def test_every_kind_of_quota_is_held_against_the_release(quotas: list[Any], fails_by: str) -> None:
    """What the preflight lets pass here, the API server refuses after half of the release is made; or the reverse."""
    config = replace(CONFIG, workload=replace(CONFIG.workload, priority_class="low"))
    said = verdicts(config, **{f"{CORE}/resourcequotas": quotas})
    if not fails_by:
        assert said == {}
        return
    verdict, sentence = said["preflight.namespace.quota"]
    assert verdict == "fail"
    assert fails_by in sentence


def test_a_requests_default_of_a_limit_range_satisfies_a_quota() -> None:
    config = replace(CONFIG, workload=Workload(replicas=2, requests={"nvidia.com/gpu": "2"}))
    quotas = {f"{CORE}/resourcequotas": quota({"requests.cpu": "100"})}
    assert "do not set it" in verdicts(config, **quotas)["preflight.namespace.quota"][1]
    defaults = [
        {"metadata": {"name": "d"}, "spec": {"limits": [{"type": "Container", "defaultRequest": {"cpu": "1"}}]}}
    ]
    assert verdicts(config, **quotas, **{f"{CORE}/limitranges": defaults}) == {}


@pytest.mark.parametrize(
    ("provisioner", "parameters", "expected", "words"),
    [
        ("s3.csi.aws.com", {}, "fail", "without an atomic rename"),
        ("gcsfuse.csi.storage.gke.io", {}, "fail", "without an atomic rename"),
        ("blob.csi.azure.com", {"protocol": "fuse"}, "fail", "without an atomic rename"),
        ("file.csi.azure.com", {"skuName": "Premium_LRS"}, "warn", "over SMB"),
        ("file.csi.azure.com", {"protocol": "nfs"}, None, ""),
        ("csi.hpe.com", {}, "warn", "it is not known"),
        ("csi-powerstore.dellemc.com", {}, "warn", "it is not known"),
        ("csi.nutanix.com", {}, "warn", "it is not known"),
    ],
)
def test_what_a_class_lacks_is_said(
    provisioner: str, parameters: dict[str, str], expected: str | None, words: str
) -> None:
    said = verdicts(CONFIG, **{CLASSES: [a_class("kv", provisioner, **parameters)]})
    verdict, sentence = said.get("preflight.storageclass.rwx", (None, ""))
    assert verdict == expected
    assert words in sentence


CLAIM = DeviceClaim(resource="resourceclaimtemplates", name="two-gpus")
TEMPLATE = "/apis/resource.k8s.io/v1/namespaces/ns/resourceclaimtemplates/two-gpus"


def a_template(*requests: dict[str, Any]) -> dict[str, Any]:
    named = [{"name": str(n), **one} for n, one in enumerate(requests)]
    return {"metadata": {"name": "two-gpus"}, "spec": {"spec": {"devices": {"requests": named}}}}


GPUS = {"exactly": {"deviceClassName": "gpu.nvidia.com", "count": 2}}
GPU_OF_ONE = {"exactly": {"deviceClassName": "gpu.nvidia.com"}}


@pytest.mark.parametrize(
    ("template", "expected", "words"),
    [
        (a_template(GPUS), None, ""),
        (a_template(GPU_OF_ONE, GPU_OF_ONE), None, ""),
        (a_template(GPUS, GPU_OF_ONE), None, ""),  # a network card, perhaps
        (a_template(GPU_OF_ONE), "warn", "ask for 1 device(s), but vLLM takes 2 accelerators"),
        (a_template(), "warn", "ask for 0 device(s)"),
        (a_template({"exactly": {"deviceClassName": "gpu.nvidia.com", "allocationMode": "All"}}), None, ""),
        (a_template({"firstAvailable": [{"name": "h200", "deviceClassName": "gpu.nvidia.com"}]}), None, ""),
        (None, "fail", 'names ResourceClaimTemplate "two-gpus", but there is none'),
    ],
)
def test_claims_of_accelerators_are_looked_for_and_counted(
    template: dict[str, Any] | None, expected: str | None, words: str
) -> None:
    """A name that nothing has is the first thing that goes wrong: the pods would wait for ever, with one event."""
    config = replace(CONFIG, accelerator=Accelerator(claims=(CLAIM,), per_pod=2, replicas=2))
    said = verdicts(config, **({TEMPLATE: template} if template else {}))
    assert said.keys() == ({"preflight.accelerator.claims"} if expected else set())
    if expected:
        assert said["preflight.accelerator.claims"][0] == expected
        assert words in said["preflight.accelerator.claims"][1]


def test_a_claim_by_name_counts_its_own_devices() -> None:
    claim = DeviceClaim(resource="resourceclaims", name="mine")
    config = replace(CONFIG, accelerator=Accelerator(claims=(claim,), per_pod=2, replicas=1))
    path = "/apis/resource.k8s.io/v1/namespaces/ns/resourceclaims/mine"
    assert verdicts(config, **{path: {"spec": {"devices": {"requests": [GPUS]}}}}) == {}
    assert verdicts(config)["preflight.accelerator.claims"][0] == "fail"


def test_claims_that_cannot_be_read_are_a_warning() -> None:
    config = replace(CONFIG, accelerator=Accelerator(claims=(CLAIM,), per_pod=2, replicas=2))
    found = by_id(check(config, without_cluster(config, Unknown("not allowed (forbidden)"))))
    assert found["preflight.accelerator.claims"].verdict.value == "warn"


def test_a_cluster_without_claims_is_to_be_upgraded() -> None:
    """An older API server drops the pod's claims: it would run, without a GPU."""
    crd = Crd(
        name="resourceclaims.resource.k8s.io",
        version="v1",
        needed_for="modelserver.accelerator.resourceClaims",
        built_in_since="1.34",
    )
    beta = {"/apis/resource.k8s.io": {"versions": [{"version": "v1beta1"}]}}
    found = by_id(run(replace(CONFIG, crds=(crd,)), Recorded({**SHARED, **beta})).findings)
    finding = found["preflight.crd.resourceclaims"]
    assert finding.verdict.value == "fail" and "only in v1beta1" in finding.sentence
    assert "from 1.34 on" in finding.remedy and "CRD" not in finding.remedy


@pytest.mark.parametrize(
    ("hard", "groups", "words"),
    [
        ({"count/leaderworkersets.leaderworkerset.x-k8s.io": "0"}, 2, "leaderworkersets"),
        ({"count/statefulsets.apps": "2"}, 2, "count/statefulsets.apps 3"),  # one of the leaders, and one a group
        ({"count/deployments.apps": "0"}, 2, ""),
        ({"count/leaderworkersets.leaderworkerset.x-k8s.io": "0", "count/statefulsets.apps": "0"}, 0, ""),
    ],
)
def test_a_quota_counts_what_a_leaderworkerset_makes(hard: dict[str, str], groups: int, words: str) -> None:
    config = replace(CONFIG, workload=replace(CONFIG.workload, replicas=4, groups=groups))
    said = verdicts(config, **{f"{CORE}/resourcequotas": quota(hard)})
    assert said.get("preflight.namespace.quota", ("", ""))[0] == ("fail" if words else "")
    assert words in said.get("preflight.namespace.quota", ("", ""))[1]


def test_without_the_leaderworkersets_controller_nothing_is_made() -> None:
    crd = Crd(name="leaderworkersets.leaderworkerset.x-k8s.io", version="v1", needed_for="modelserver.nodes")
    finding = by_id(run(replace(CONFIG, crds=(crd,)), Recorded(SHARED)).findings)["preflight.crd.leaderworkersets"]
    assert finding.verdict.value == "fail" and "modelserver.nodes" in finding.sentence
    assert "lws.sigs.k8s.io" in finding.link

# SPDX-License-Identifier: Apache-2.0
"""Preflight's verdicts, branch by branch: facts in, finding out."""

from dataclasses import replace

import pytest

from llmd_storage_hooks.core.kube import objects
from llmd_storage_hooks.preflight import facts as f
from llmd_storage_hooks.preflight import parse
from llmd_storage_hooks.preflight.checks import claims, cluster, nodes, secrets, storage
from llmd_storage_hooks.preflight.checks.rwx import find, rwx_support
from llmd_storage_hooks.preflight.collect import without_cluster
from llmd_storage_hooks.preflight.config import Accelerator, Crd, PreflightConfig, SecretRef, Storage
from llmd_storage_hooks.preflight.run import check, rwx_table
from tests.unit.hooks.support import by_id

GI = 1024**3
CHANGE = "storage.storageClassName to"
TABLE = rwx_table()
UNKNOWN = objects.Unknown("not allowed (forbidden)")


def verdict(finding):
    by_id([finding])
    return finding.verdict.value


@pytest.mark.parametrize(
    ("observed", "expected"),
    [
        (f.ClusterVersion("v1.36.0", 1, 36), "pass"),
        (f.ClusterVersion("v1.29.9", 1, 29), "pass"),
        (f.ClusterVersion("v1.24.0", 1, 24), "warn"),
        (UNKNOWN, "inconclusive"),
    ],
)
def test_version(observed, expected):
    assert verdict(cluster.version(observed)) == expected


CRD = Crd(name="inferencepools.inference.networking.k8s.io", version="v1", needed_for="router.mode=gateway")


@pytest.mark.parametrize(
    ("observed", "expected", "said"),
    [
        (f.ServedGroup(("v1",), frozenset({"inferencepools"})), "pass", "served in v1"),
        (f.ServedGroup(("v1alpha2",), frozenset()), "fail", "only in v1alpha2"),
        (f.ServedGroup(("v1",), frozenset({"other"})), "fail", "without inferencepools"),
        (objects.Absent(), "fail", "router.mode=gateway"),
        (UNKNOWN, "warn", "Could not check"),
    ],
)
def test_crd(observed, expected, said):
    finding = cluster.crd(CRD, observed)
    assert verdict(finding) == expected
    assert finding.id == "preflight.crd.inferencepools"
    assert said in finding.sentence
    assert expected == "pass" or "Install the CRD" in finding.remedy


@pytest.mark.parametrize(
    ("observed", "expected"),
    [
        (f.GatewayClass("istio", "istio.io/x", True, ""), "pass"),
        (f.GatewayClass("istio", "istio.io/x", False, "waiting"), "warn"),
        (objects.Absent(), "fail"),
        (UNKNOWN, "warn"),
    ],
)
def test_gateway_class(observed, expected):
    finding = cluster.gateway_class("istio", observed)
    assert verdict(finding) == expected
    assert '"istio"' in finding.sentence


def node(name, gpus, ready=True, schedulable=True):
    return f.Node(name, ready, schedulable, {"nvidia.com/gpu": gpus})


@pytest.mark.parametrize(
    ("wanted", "there", "expected"),
    [
        (Accelerator(), (), "skipped"),
        (Accelerator(resource="nvidia.com/gpu", per_pod=2, replicas=2), UNKNOWN, "warn"),
        (Accelerator(resource="nvidia.com/gpu", per_pod=2, replicas=2), (node("a", 4),), "pass"),
        # eight devices, but no node holds a whole pod's worth twice
        (Accelerator(resource="nvidia.com/gpu", per_pod=2, replicas=2), (node("a", 1), node("b", 3)), "fail"),
        (Accelerator(resource="nvidia.com/gpu", per_pod=1, replicas=1), (node("a", 8, ready=False),), "fail"),
        (Accelerator(resource="nvidia.com/gpu", per_pod=1, replicas=1), (node("a", 8, schedulable=False),), "fail"),
        (Accelerator(resource="nvidia.com/gpu", per_pod=1, replicas=1), (), "fail"),
    ],
)
def test_accelerators(wanted, there, expected):
    assert verdict(nodes.accelerators(wanted, there)) == expected


CEPH = f.StorageClass("cephfs", "cephfs.csi.ceph.com", is_default=True)
LOCAL = f.StorageClass("local-path", "rancher.io/local-path")


@pytest.mark.parametrize(
    ("wanted", "classes", "expected", "chosen"),
    [
        (Storage(storage_class_name="cephfs"), (CEPH, LOCAL), "pass", "cephfs"),
        (Storage(storage_class_name="nope"), (CEPH, LOCAL), "fail", None),
        (Storage(storage_class_name="nope"), (), "fail", None),
        (Storage(), (CEPH, LOCAL), "pass", "cephfs"),
        (Storage(), (LOCAL,), "fail", None),
        (Storage(), (f.StorageClass("c", "x", is_default=True), CEPH), "warn", "c"),  # made at once: the first by name
        (
            Storage(),
            (replace(CEPH, created="2026-06-01T08:00:00Z"), replace(CEPH, name="a", created="2025-01-01T08:00:00Z")),
            "warn",
            "cephfs",
        ),
        (Storage(), UNKNOWN, "warn", None),
        (Storage(storage_class_name="cephfs"), UNKNOWN, "warn", None),
        (Storage(storage_class_name="new", creates_storage_class=True, provisioner="p"), (), "pass", "new"),
        (Storage(storage_class_name="new", creates_storage_class=True), (), "fail", None),
    ],
)
def test_storage_class(wanted, classes, expected, chosen):
    got, finding = storage.storage_class(wanted, classes)
    assert verdict(finding) == expected
    assert (got.name if got else None) == chosen


@pytest.mark.parametrize("grows", [True, False])
def test_a_claim_may_grow_as_the_class_of_this_release_lets_it(grows):
    """The class was made by the install before: what it says is what the API server goes by."""
    wanted = Storage(storage_class_name="new", creates_storage_class=True, provisioner="p")
    made, _ = storage.storage_class(wanted, (f.StorageClass("new", "p", allows_expansion=grows),))
    finding = claims.kept_claim(claim(storage_class="new"), made, wanted, 20 * GI)
    assert verdict(finding) == ("pass" if grows else "fail")


def test_a_missing_class_names_those_there_are():
    _, finding = storage.storage_class(Storage(storage_class_name="nope"), (CEPH, LOCAL))
    assert finding.sentence == 'StorageClass "nope" does not exist; the cluster has: "cephfs", "local-path".'
    assert "storage.storageClassName" in finding.remedy


def test_an_rwo_class_is_refused_with_name_and_remedy():
    finding = storage.rwx(LOCAL, rwx_support(TABLE, LOCAL.provisioner, {}, {}), CHANGE)
    assert verdict(finding) == "fail"
    assert finding.id == "preflight.storageclass.rwx"
    assert 'StorageClass "local-path" (provisioner rancher.io/local-path) cannot give' in finding.sentence
    assert "storage.storageClassName" in finding.remedy
    assert 'hooks.rwxOverrides."rancher.io/local-path"="yes"' in finding.remedy


@pytest.mark.parametrize(
    ("provisioner", "parameters", "overrides", "expected", "hint"),
    [
        ("nfs.csi.k8s.io", {}, {}, "pass", ""),
        ("x.example.com", {}, {}, "warn", "shared filesystem"),
        ("x.example.com", {}, {"x.example.com": "no"}, "fail", "shared filesystem"),
        ("x.example.com", {}, {"x.example.com": "yes"}, "pass", ""),
        ("driver.longhorn.io", {"migratable": "true"}, {}, "fail", "migratable"),
        ("ebs.csi.aws.com", {}, {}, "fail", "fsx.csi.aws.com"),
    ],
)
def test_rwx(provisioner, parameters, overrides, expected, hint):
    chosen = f.StorageClass("c", provisioner, parameters)
    finding = storage.rwx(chosen, rwx_support(TABLE, provisioner, parameters, overrides), CHANGE)
    assert verdict(finding) == expected
    assert hint in finding.remedy


@pytest.mark.parametrize(
    ("throughput", "asked", "gi", "expected", "remedy"),
    [
        (None, "9000Gi", 9000, "pass", ""),
        ("1000", "18000Gi", 18000, "pass", ""),
        ("1000", "27000Gi", 27000, "pass", ""),
        ("1000", "20000Gi", 20000, "fail", "18000Gi or 27000Gi"),
        ("1000", "100Gi", 100, "fail", "Set storage.size to 9000Gi."),
        ("1000", "20000000Gi", 20_000_000, "fail", "Set storage.size to 10008000Gi."),
        ("1000", "many", None, "fail", "9000Gi"),
        ("500", "27000Gi", 27000, "fail", "18000Gi or 36000Gi"),
        ("250", "36000Gi", 36000, "pass", ""),
        ("125", "36000Gi", 36000, "fail", "72000Gi"),
    ],
)
def test_lustre_sizes_go_by_the_classs_throughput(throughput, asked, gi, expected, remedy):
    """A size that the backend does not have leaves the claim Pending for ever."""
    entry = find(TABLE, "lustre.csi.storage.gke.io")
    parameters = {"perUnitStorageThroughput": throughput} if throughput else {}
    chosen = f.StorageClass("lustre", "lustre.csi.storage.gke.io", parameters)
    finding = storage.size(chosen, entry, entry.size_rule(parameters), asked, None if gi is None else gi * GI)
    assert verdict(finding) == expected
    assert remedy in finding.remedy


def test_a_tier_that_is_not_known_has_no_size_rule():
    assert find(TABLE, "lustre.csi.storage.gke.io").size_rule({"perUnitStorageThroughput": "25"}) is None
    assert find(TABLE, "nfs.csi.k8s.io").size_rule({}) is None


def claim(**changes):
    base = {
        "name": "kv",
        "phase": "Bound",
        "access_modes": ("ReadWriteMany",),
        "storage_class": "cephfs",
        "requested_bytes": 10 * GI,
        "capacity_bytes": 10 * GI,
    }
    return objects.Claim(**{**base, **changes})


@pytest.mark.parametrize(
    ("observed", "size", "expected", "said"),
    [
        (claim(), 10 * GI, "pass", "is bound"),
        (claim(), None, "pass", "is bound"),
        (claim(), 20 * GI, "warn", "10Gi"),
        (claim(phase="Pending", capacity_bytes=None), None, "warn", "not bound yet"),
        (claim(phase="Lost"), None, "fail", "lost its volume"),
        (claim(deleting=True), None, "fail", "being deleted"),
        (claim(access_modes=("ReadWriteOnce",)), None, "fail", "ReadWriteOnce, not ReadWriteMany"),
        (claim(access_modes=()), None, "fail", "none, not ReadWriteMany"),
        (claim(volume_mode="Block"), None, "fail", "volumeMode Block"),
        (objects.Absent(), None, "fail", "no such claim"),
        (UNKNOWN, None, "warn", "Could not check"),
        (None, None, "warn", "not looked at"),
    ],
)
def test_existing_claim(observed, size, expected, said):
    finding = claims.existing_claim(Storage(existing_claim="kv", size="20Gi"), observed, size)
    assert verdict(finding) == expected
    assert said in finding.sentence
    assert '"kv"' in finding.sentence


@pytest.mark.parametrize(
    ("observed", "wanted", "chosen", "size", "expected", "said"),
    [
        (claim(), "cephfs", CEPH, 10 * GI, "pass", "is kept"),
        (claim(), "", CEPH, 10 * GI, "pass", "is kept"),
        (claim(), "other", None, 10 * GI, "fail", "class cannot be changed"),
        (claim(), "cephfs", CEPH, 5 * GI, "fail", "cannot shrink"),
        (claim(storage_class=""), "", CEPH, 20 * GI, "fail", "static volume cannot grow"),
        (claim(), "cephfs", CEPH, 20 * GI, "fail", "does not let claims grow"),
        (claim(), "cephfs", f.StorageClass("cephfs", "x", allows_expansion=True), 20 * GI, "pass", "is kept"),
        (claim(access_modes=("ReadWriteOnce",)), "cephfs", CEPH, 10 * GI, "fail", "not ReadWriteMany"),
    ],
)
def test_kept_claim(observed, wanted, chosen, size, expected, said):
    finding = claims.kept_claim(observed, chosen, Storage(storage_class_name=wanted, size="?"), size)
    assert verdict(finding) == expected
    assert said in finding.sentence


TOKEN = SecretRef(name="hf", key="HF_TOKEN", needed_for="downloading the model")


@pytest.mark.parametrize(
    ("wanted", "observed", "expected", "said"),
    [
        (TOKEN, f.SecretKeys("hf", frozenset({"HF_TOKEN"}), frozenset()), "pass", "has key"),
        (TOKEN, f.SecretKeys("hf", frozenset({"token"}), frozenset()), "fail", "it has: token"),
        (TOKEN, f.SecretKeys("hf", frozenset({"HF_TOKEN"}), frozenset({"HF_TOKEN"})), "fail", "is empty"),
        (TOKEN, objects.Absent(), "fail", "does not exist in namespace ns (downloading the model needs it)"),
        (SecretRef(name="hf", key="HF_TOKEN", required=False), objects.Absent(), "warn", "does not exist"),
        (TOKEN, UNKNOWN, "warn", "Could not check"),
    ],
)
def test_secret(wanted, observed, expected, said):
    finding = secrets.secret(wanted, observed, "ns")
    assert verdict(finding) == expected
    assert said in finding.sentence
    assert expected == "pass" or "kubectl create secret generic hf --namespace ns" in finding.remedy


@pytest.mark.parametrize("key", ["tls.crt", "ca.crt"])
def test_the_secret_of_a_certificate_is_made_of_its_files(key):
    wanted = SecretRef(name="vllm-tls", key=key, needed_for="global.modelserverTls")
    remedy = secrets.secret(wanted, objects.Absent(), "ns").remedy
    made = "kubectl create secret generic vllm-tls --namespace ns --type=kubernetes.io/tls --from-file=tls.crt=<file>"
    assert made in remedy and f"--from-file={key}=<file>" in remedy


FULL = PreflightConfig(
    release="demo",
    namespace="ns",
    crds=(CRD,),
    gateway_class="istio",
    storage=Storage(storage_class_name="lustre", claim_name="demo-kv-cache", size="20000Gi"),
    secrets=(TOKEN,),
    accelerator=Accelerator(resource="nvidia.com/gpu", per_pod=1, replicas=2),
)


def test_without_an_api_server_every_check_says_so():
    findings = by_id(check(FULL, without_cluster(FULL, objects.Unknown("connection refused"))))
    assert findings["preflight.kubernetes.version"].verdict.value == "inconclusive"
    assert all("connection refused" in one.sentence for one in findings.values())


def test_all_checks_together():
    observed = f.PreflightFacts(
        version=f.ClusterVersion("v1.36.0", 1, 36),
        crds={cluster.crd_key(CRD): f.ServedGroup(("v1",), frozenset({"inferencepools"}))},
        gateway_class=f.GatewayClass("istio", "c", True, ""),
        classes=(f.StorageClass("lustre", "lustre.csi.storage.gke.io"),),
        claim=objects.Absent(),
        secrets={"hf": objects.Absent()},
        nodes=(node("a", 8),),
    )
    got = {name: one.verdict.value for name, one in by_id(check(FULL, observed)).items()}
    assert got == {
        "preflight.kubernetes.version": "pass",
        "preflight.crd.inferencepools": "pass",
        "preflight.gatewayclass": "pass",
        "preflight.accelerator.count": "pass",
        "preflight.namespace.quota": "pass",
        "preflight.namespace.limits": "pass",
        "preflight.storageclass.exists": "pass",
        "preflight.storageclass.rwx": "pass",
        "preflight.storage.size": "fail",
        "preflight.secret.hf": "fail",
    }


def test_with_a_claim_of_the_users_own_the_class_plays_no_part():
    config = PreflightConfig(release="demo", namespace="ns", storage=Storage(existing_claim="kv"))
    observed = f.PreflightFacts(f.ClusterVersion("v1.36.0", 1, 36), {}, None, (), claim(), {}, ())
    findings = by_id(check(config, observed))
    assert findings["preflight.claim.usable"].verdict.value == "pass"
    assert not any("storageclass" in name for name in findings)


@pytest.mark.parametrize(
    ("spec", "expected", "said"),
    [
        ({"csi": {"driver": "cephfs.csi.ceph.com"}}, "pass", "gives ReadWriteMany"),
        ({"csi": {"driver": "s3.csi.aws.com"}}, "fail", "pods cannot share the cache on it"),
        ({"csi": {"driver": "file.csi.azure.com", "volumeAttributes": {"protocol": "nfs"}}}, "pass", "protocol"),
        ({"csi": {"driver": "file.csi.azure.com"}}, "warn", "the probe will find out"),
        ({"nfs": {"server": "s", "path": "/"}}, "pass", "nfs.csi.k8s.io"),
        ({"hostPath": {"path": "/kv"}}, "warn", "kubernetes.io/no-provisioner"),
        ({"iscsi": {}}, "warn", "not known"),
    ],
)
def test_the_volume_behind_a_claim_of_the_users_own_is_judged_as_a_class_would_be(spec, expected, said):
    """A bucket shown as files says ReadWriteMany, too."""
    config = PreflightConfig(release="demo", namespace="ns", storage=Storage(existing_claim="kv"))
    found = parse.volume({"metadata": {"name": "pv-1"}, "spec": {"capacity": {"storage": "1Ti"}, **spec}})
    (finding,) = storage.existing_volume(config, found, TABLE)
    assert (finding.id, verdict(finding)) == ("preflight.storageclass.rwx", expected), finding
    assert 'PersistentVolume "pv-1"' in finding.sentence and said in finding.sentence
    assert expected == "pass" or "storage.existingClaim to a claim of" in finding.remedy


def test_an_override_holds_for_a_volume_too():
    config = PreflightConfig(
        release="demo", namespace="ns", storage=Storage(existing_claim="kv"), rwx_overrides={"s3.csi.aws.com": "yes"}
    )
    found = f.StorageClass("pv-1", "s3.csi.aws.com")
    assert [verdict(one) for one in storage.existing_volume(config, found, TABLE)] == ["pass"]


def test_a_volume_that_may_not_be_read_is_said():
    config = PreflightConfig(release="demo", namespace="ns", storage=Storage(existing_claim="kv"))
    (finding,) = storage.existing_volume(config, UNKNOWN, TABLE)
    assert verdict(finding) == "warn" and "Could not check the volume of claim" in finding.sentence
    assert storage.existing_volume(config, None, TABLE) == []


def test_a_claim_kept_from_an_earlier_release_is_checked_too():
    config = PreflightConfig(
        release="demo", namespace="ns", storage=Storage(storage_class_name="cephfs", claim_name="kv", size="10Gi")
    )
    observed = f.PreflightFacts(f.ClusterVersion("v1.36.0", 1, 36), {}, None, (CEPH,), claim(), {}, ())
    assert by_id(check(config, observed))["preflight.claim.kept"].verdict.value == "pass"


def test_a_volume_that_is_there_already_is_called_one_and_has_no_size_to_obey():
    """A Lustre instance of 9000Gi exists; the rule for new ones must not refuse it."""
    config = PreflightConfig(
        release="demo",
        namespace="ns",
        storage=Storage(
            storage_class_name="kv-volume",
            creates_storage_class=True,
            static=True,
            provisioner="lustre.csi.storage.gke.io",
            size="9000Gi",
        ),
    )
    _, findings = storage.check(config, f.PreflightFacts(UNKNOWN, {}, None, (), None, {}, ()), TABLE, 9000 * GI)
    assert [verdict(one) for one in findings] == ["pass", "pass"]
    assert all('PersistentVolume "kv-volume"' in one.sentence for one in findings)


@pytest.mark.parametrize(
    ("there", "expected", "said"),
    [
        (f.StorageClass("new", "p", {"a": "1"}), "pass", "creates"),
        (f.StorageClass("new", "q", {"a": "1"}), "fail", "provisioner q, not p"),
        (f.StorageClass("new", "p", {"a": "2", "b": "1"}), "fail", "other parameters (a, b)"),
    ],
)
def test_a_class_of_that_name_is_never_taken_for_ours(there, expected, said):
    wanted = Storage(storage_class_name="new", creates_storage_class=True, provisioner="p", parameters={"a": "1"})
    _, finding = storage.storage_class(wanted, (there,))
    assert verdict(finding) == expected
    assert said in finding.sentence

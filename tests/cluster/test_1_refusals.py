"""What cannot work is refused before anything is made, in one sentence; and nothing stands in the way afterwards."""

from __future__ import annotations

import pytest

from tests.cluster.harness import Cluster, Release

pytestmark = pytest.mark.cluster


def rwo_class(name: str) -> dict[str, object]:
    """A class as many clusters have it: a provisioner of local disks."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name},
        "provisioner": "rancher.io/local-path",
        "volumeBindingMode": "WaitForFirstConsumer",
    }


def refused(release: Release, *settings: str) -> str:
    """The output of an install that the preflight stopped. Nothing but hook objects may be left."""
    done = release.upgrade(*settings)
    assert done.code != 0, done.out
    made = release.cluster.objects(release.namespace)
    kinds = {o.split("/")[0] for o in made}
    assert not kinds & {"persistentvolumeclaim", "deployment.apps", "service"}, made
    return done.text


def test_a_class_for_local_disks_is_refused_by_name_with_the_remedy(unproven: Release, cluster: Cluster) -> None:
    cluster.apply(rwo_class("fast-local"))
    try:
        out = refused(unproven, "storage.storageClassName=fast-local")
    finally:
        cluster.kubectl("delete", "storageclass", "fast-local").ok()
    assert 'StorageClass "fast-local"' in out
    assert "ReadWriteMany" in out
    assert "storage.storageClassName" in out


def test_a_class_that_is_not_there_is_named(unproven: Release) -> None:
    out = refused(unproven, "storage.storageClassName=no-such-class")
    assert 'StorageClass "no-such-class"' in out
    assert "storage.storageClassName" in out


def test_a_missing_secret_is_named_with_its_key(unproven: Release, cluster: Cluster) -> None:
    out = refused(unproven, "modelserver.hfToken.enabled=true")
    assert "llm-d-hf-token" in out
    assert "HF_TOKEN" in out
    job = cluster.get("job", f"{unproven.name}-preflight", "-n", unproven.namespace)
    assert "llm-d-hf-token" in job["metadata"]["annotations"]["llm-d-storage/failure"], "Argo CD has nothing to show"


def test_a_claim_of_one_node_is_refused(unproven: Release, cluster: Cluster) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "single", "namespace": unproven.namespace},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "cephfs",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    cluster.apply(claim)
    try:
        done = unproven.upgrade("storage.existingClaim=single", "evictor.enabled=false")
    finally:
        cluster.kubectl("delete", "pvc", "single", "-n", unproven.namespace).ok()
    assert done.code != 0
    assert '"single"' in done.text
    assert "ReadWriteMany" in done.text


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("storage.storageClasName=cephfs", "storageClasName"),
        ("modelserver.tensorParallelSize=3", "tensorParallelSize"),
        ("storage.size=8 GB", "storage/size"),
    ],
)
def test_a_wrong_value_never_reaches_the_cluster(unproven: Release, setting: str, words: str) -> None:
    done = unproven.upgrade(setting)
    assert done.code != 0
    assert words in done.out.replace(".", "/") or words in done.out


def test_repeated_failure_leaves_only_the_last_failed_job(unproven: Release, cluster: Cluster) -> None:
    for _ in range(2):
        refused(unproven, "storage.storageClassName=no-such-class")
    jobs = {o for o in cluster.objects(unproven.namespace) if o.startswith("job.batch/")}
    assert jobs == {"job.batch/t-preflight"}

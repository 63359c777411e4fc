"""An admin of one namespace, who may make nothing outside of it, installs onto a claim that is there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.cluster.harness import Cluster, Release

pytestmark = pytest.mark.cluster

NAMESPACE, CLAIM = "llmd-admin", "given"
SETTINGS = (
    "global.rbac.clusterScope=false",
    "global.router.mode=service",
    f"storage.existingClaim={CLAIM}",
    "evictor.config.budget_bytes=1Gi",
    # The role "admin" says nothing of the operator's kinds.
    "alerts.kind=none",
)


@pytest.fixture
def admin(cluster: Cluster, tmp_path: Path) -> Iterator[Cluster]:
    """The cluster as who has the ClusterRole "admin" in one namespace, and nothing else."""
    cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found").ok()
    cluster.namespace(NAMESPACE)
    cluster.kubectl("create", "serviceaccount", "admin", "-n", NAMESPACE).ok()
    cluster.kubectl(
        *("create", "rolebinding", "admin", "-n", NAMESPACE, "--clusterrole=admin"),
        f"--serviceaccount={NAMESPACE}:admin",
    ).ok()
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    token = cluster.kubectl("create", "token", "admin", "-n", NAMESPACE, "--duration=2h").ok().out.strip()
    config["users"] = [{"name": one["name"], "user": {"token": token}} for one in config["users"]]
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    yield replace(cluster, kubeconfig=kubeconfig)
    cluster.helm("uninstall", "own", "-n", NAMESPACE, "--ignore-not-found")
    cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found").ok()


def test_an_admin_of_one_namespace_installs_onto_a_claim_that_is_there(admin: Cluster) -> None:
    assert admin.kubectl("auth", "can-i", "list", "nodes").code != 0
    admin.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": CLAIM, "namespace": NAMESPACE},
            "spec": {
                "accessModes": ["ReadWriteMany"],
                "storageClassName": "cephfs",
                "resources": {"requests": {"storage": "2Gi"}},
            },
        }
    )
    release = Release(admin, "own", NAMESPACE)
    done = release.upgrade(*SETTINGS).ok()
    release.wait_ready()
    assert release.report("proof")["proof"]["reusedFraction"] >= 0.95, done.text[-3000:]
    # The first preflight runs before anything of the release is there, its report too: an upgrade writes it down.
    release.upgrade(*SETTINGS).ok()
    preflight = release.report("preflight")
    assert preflight["verdict"] in ("pass", "warn"), json.dumps(preflight["findings"], indent=1)
    # What could not be looked at is said, and no more than that.
    unseen = [one for one in preflight["findings"] if one["verdict"] == "warn"]
    assert any("nodes" in one["sentence"] for one in unseen), json.dumps(unseen, indent=1)

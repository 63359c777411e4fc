"""One cluster and one release for all cluster tests: starting a model server is the expensive part."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.harness import Cluster, Release
from tests.lab.cluster import target

NAMESPACE = "llmd-test"


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    found = target(start=False)
    if found.kubeconfig is None:
        pytest.fail("no cluster: run `python -m tests.lab up`, or set KUBECONFIG")
    return Cluster(found.kubeconfig, found.helm, found.kubectl)


@pytest.fixture(scope="session")
def clean_namespace(cluster: Cluster) -> Iterator[str]:
    cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", timeout_s=300).ok()
    cluster.namespace(NAMESPACE)
    yield NAMESPACE
    cluster.helm("uninstall", "t", "-n", NAMESPACE, "--ignore-not-found")
    cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", timeout_s=300).ok()


@pytest.fixture(scope="session")
def unproven(cluster: Cluster, clean_namespace: str) -> Release:
    """The release, not installed by this fixture: the refusals are tried under its name first."""
    return Release(cluster, "t", clean_namespace)


@pytest.fixture(scope="session")
def release(unproven: Release) -> Release:
    """The release, installed and proven."""
    unproven.install = unproven.upgrade()
    unproven.install.ok()
    return unproven

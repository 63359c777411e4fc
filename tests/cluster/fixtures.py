"""One cluster and one release for a whole run: starting a model server is the expensive part.

Shared by the cluster layer and the acceptance's parts: each one's conftest takes from here what it needs.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest

from tests.cluster import witness
from tests.cluster.harness import Cluster, Release
from tests.lab.cluster import target
from tests.results import KEPT

NAMESPACE, RELEASE = "llmd-test", "t"


def _cluster() -> Cluster | None:
    found = target(start=False)
    return Cluster(found.kubeconfig, found.helm, found.kubectl) if found.kubeconfig else None


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    return _cluster() or pytest.fail("no cluster: run `python -m tests.lab up`, or set KUBECONFIG")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What the cluster looked like when a test failed is kept, and the failure names where: CI keeps no cluster."""
    report = yield
    if report.failed:
        folder = witness.folder_of(report.nodeid)
        try:
            if found := _cluster():
                witness.keep(found, folder)
                report.user_properties.append((KEPT, str(folder.relative_to(witness.ROOT))))
        except Exception as error:  # a broken cluster must not hide the failure itself
            report.sections.append(("the cluster at that moment", f"could not be looked at: {error}"))
    return report


@pytest.fixture(scope="session")
def clean_namespace(cluster: Cluster) -> Iterator[str]:
    cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found").ok()
    cluster.namespace(NAMESPACE)
    yield NAMESPACE
    cluster.helm("uninstall", RELEASE, "-n", NAMESPACE, "--ignore-not-found")
    cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found").ok()


@pytest.fixture(scope="session")
def unproven(cluster: Cluster, clean_namespace: str) -> Release:
    """The release, not installed by this fixture: the refusals are tried under its name first."""
    return Release(cluster, RELEASE, clean_namespace)


@pytest.fixture(scope="session")
def release(unproven: Release) -> Release:
    """The release, installed and proven."""
    unproven.install = unproven.upgrade()
    unproven.install.ok()
    return unproven

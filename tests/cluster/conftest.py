"""One cluster and one release for all cluster tests: starting a model server is the expensive part."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.cluster import witness
from tests.cluster.harness import Cluster, Release, long_waits
from tests.cluster.watching import watching
from tests.lab import istio as istiod
from tests.lab.cluster import target
from tests.lab.errors import LabError
from tests.lab.paths import lab
from tests.lab.proc import Console
from tests.lab.prometheus import Prometheus, programs_current, state_metrics_current

NAMESPACE, RELEASE = "llmd-test", "t"


def _cluster() -> Cluster | None:
    found = target(start=False)
    return Cluster(found.kubeconfig, found.helm, found.kubectl) if found.kubeconfig else None


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    return _cluster() or pytest.fail("no cluster: run `python -m tests.lab up`, or set KUBECONFIG")


_witnessed: set[Path] = set()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure is reported with what the cluster looked like. Once a module: what follows often only follows."""
    report = yield
    if report.failed and item.path not in _witnessed:
        _witnessed.add(item.path)
        try:
            found = _cluster()
            report.sections.append(("the cluster at that moment", witness.told(found) if found else "is not there"))
        except Exception as error:  # a broken cluster must not hide the failure itself
            report.sections.append(("the cluster at that moment", f"could not be looked at: {error}"))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if long_waits:
        terminalreporter.section("waits that took more than half of what they may")
        terminalreporter.write_line("\n".join(long_waits))


@pytest.fixture(scope="session", autouse=True)
def watched(cluster: Cluster) -> Iterator[Prometheus | None]:
    """From the first test to the last: it sees every fault that any of them makes. None: not built, or no lab."""
    if not target(start=False).is_lab or not (programs_current(lab()) and state_metrics_current(lab())):
        yield None
        return
    with ExitStack() as stack:
        try:
            one = stack.enter_context(watching(cluster, lab(), RELEASE, NAMESPACE))
        except LabError as error:  # only what needs it fails
            print(f"Prometheus did not start: {error}")
            one = None
        yield one


@pytest.fixture(scope="session")
def prometheus(watched: Prometheus | None) -> Prometheus:
    if watched is None:
        pytest.fail("no Prometheus: run `python -m tests.lab build prometheus`, or see why it did not start")
    return watched


@pytest.fixture(scope="session")
def istio(cluster: Cluster) -> Iterator[None]:
    """Istio's control plane beside the lab's own, for as long as the tests that need it."""
    the_lab = lab()
    istiod.end(the_lab)  # what a killed test run left
    try:
        istiod.begin(Console(the_lab.log / "istio.log"), the_lab)
        yield
    finally:
        istiod.end(the_lab)


@pytest.fixture(scope="session")
def clean_namespace(cluster: Cluster) -> Iterator[str]:
    cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", timeout_s=300).ok()
    cluster.namespace(NAMESPACE)
    yield NAMESPACE
    cluster.helm("uninstall", RELEASE, "-n", NAMESPACE, "--ignore-not-found")
    cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", timeout_s=300).ok()


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

"""Every node is drained in turn, pickers and Envoys go one after the other, and no client sees an error.

If not, the cluster's own upgrade, once a month, is an outage of the service.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

import pytest

from tests.acceptance.cluster.client import NAME, Client
from tests.cluster.harness import Release
from tests.patience import CEILING_S, eventually

pytestmark = pytest.mark.cluster

# What the proof shows is proven by other parts; an Envoy's grace is shortened so that two drains fit into minutes.
SETTINGS = ("inferencepool.envoy.drainSeconds=60", "hooks.probe.enabled=false", "hooks.proof.enabled=false")


@pytest.fixture(scope="module")
def served(unproven: Release) -> Release:
    unproven.upgrade(*SETTINGS).ok()
    unproven.wait_deployed()
    return unproven


@pytest.fixture
def client(served: Release) -> Iterator[Client]:
    pod = served.cluster.get("deployment", f"{served.name}-modelserver", "-n", served.namespace)
    (image,) = {one["image"] for one in pod["spec"]["template"]["spec"]["initContainers"]}
    with Client(served.cluster, served.namespace, f"{served.name}-router", "smollm2", image) as one:
        yield one


def nodes(release: Release) -> list[str]:
    return [one["metadata"]["name"] for one in release.cluster.get("nodes")["items"]]


def node_of(release: Release, component: str) -> list[str]:
    pods = release.cluster.get("pods", "-n", release.namespace, "-l", f"app.kubernetes.io/component={component}")
    return sorted(one["spec"].get("nodeName", "") for one in pods["items"])


def answered_since(client: Client, count: int) -> None:
    """Until so many more have been asked: what is wrong has had the time to show."""
    there = len(client.said)
    eventually(lambda: len(client.said) >= there + count, f"{count} more answers")


def test_no_request_fails_while_every_node_is_drained(
    served: Release, client: Client, figures: Callable[..., None]
) -> None:
    cluster, drains = served.cluster, []
    assert len(set(node_of(served, "router"))) == len(set(node_of(served, "epp"))) == 2, "they are spread"
    for node in nodes(served):
        began = time.monotonic()
        try:
            cluster.kubectl(
                *("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--force"),
                *(f"--pod-selector=app!={NAME}", f"--timeout={CEILING_S:.0f}s"),
            ).ok()
            drains.append(round(time.monotonic() - began, 1))
            assert node not in node_of(served, "modelserver") + node_of(served, "router") + node_of(served, "epp")
            answered_since(client, 10)
        finally:
            cluster.kubectl("uncordon", node).ok()
        served.wait_deployed()
        served.wait_ready()
        answered_since(client, 10)
    assert not client.failed(), json.dumps(client.failed()[:5], indent=1)
    figures(drains_s=drains, asked=len(client.said), failed=0, slowest_s=max(one["took"] for one in client.said))


def test_a_picker_that_is_killed_costs_time_and_no_request(
    served: Release, client: Client, figures: Callable[..., None]
) -> None:
    """Nobody has told the others: its lease has to run out."""
    lease = served.cluster.get("leases", "-n", served.namespace)["items"]
    (holder,) = [one["spec"]["holderIdentity"] for one in lease if one["metadata"]["name"].startswith("epp-")]
    leader = next(
        one["metadata"]["name"]
        for one in served.cluster.get("pods", "-n", served.namespace, "-l", "app.kubernetes.io/component=epp")["items"]
        if holder.startswith(one["metadata"]["name"])
    )
    served.cluster.kubectl(*("delete", "pod", leader, "-n", served.namespace, "--grace-period=0", "--force")).ok()
    answered_since(client, 10)
    served.wait_deployed()
    assert not client.failed(), json.dumps(client.failed()[:5], indent=1)
    figures(picker_killed_slowest_s=max(one["took"] for one in client.said))


def test_all_pickers_and_envoys_are_replaced_under_traffic(served: Release, client: Client) -> None:
    for part in ("epp", "router"):
        served.cluster.kubectl("rollout", "restart", f"deployment/{served.name}-{part}", "-n", served.namespace).ok()
    served.wait_deployed()
    answered_since(client, 10)
    assert not client.failed(), json.dumps(client.failed()[:5], indent=1)

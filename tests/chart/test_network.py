"""Network policies: complete, so that nothing breaks, and closed, so that they are worth having."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from tests.chart import helm

SCENARIO = "network-policies"


@cache
def policies(*extra: str) -> dict[str, dict[str, Any]]:
    objs = helm.objects(SCENARIO, *extra)
    return {
        o["metadata"]["labels"]["app.kubernetes.io/component"]: o["spec"] for o in objs if o["kind"] == "NetworkPolicy"
    }


@cache
def pods() -> tuple[dict[str, dict[str, str]], dict[str, dict[str, int]]]:
    """Labels and named ports of each component's pods."""
    labels, ports = {}, {}
    for o in helm.objects(SCENARIO):
        if o["kind"] in ("Deployment", "Job"):
            component = o["metadata"]["labels"]["app.kubernetes.io/component"]
            template = o["spec"]["template"]
            labels[component] = template["metadata"]["labels"]
            ports[component] = {
                p["name"]: p["containerPort"] for p in template["spec"]["containers"][0].get("ports", [])
            }
    return labels, ports


def reaches(source: str, target: str, port: int | str) -> bool:
    """Whether pods of one component may open that port of another, by both their policies."""
    found = policies()
    labels, names = pods()

    def allowed(rules: list[dict[str, Any]], key: str, other: str) -> bool:
        for rule in rules:
            numbers = {names[target].get(p["port"], p["port"]) for p in rule["ports"]}
            peers = rule.get(key)
            fits = peers is None or any(
                "podSelector" in p and p["podSelector"]["matchLabels"].items() <= labels[other].items() for p in peers
            )
            if port in numbers and fits:
                return True
        return False

    return allowed(found[source]["egress"], "to", target) and allowed(found[target]["ingress"], "from", source)


NEEDED = [
    ("router", "epp", 9002),
    ("router", "modelserver", 8000),
    ("epp", "modelserver", 8000),
    ("proof", "modelserver", 8000),
    ("proof", "router", 8080),
]


@pytest.mark.parametrize(("source", "target", "port"), NEEDED)
def test_what_is_needed_is_open(source: str, target: str, port: int) -> None:
    assert reaches(source, target, port)


def test_nothing_else_is_open_between_the_charts_pods() -> None:
    components = policies().keys()
    assert components == {"modelserver", "epp", "router", "preflight", "claim", "probe", "proof", "evictor"}
    for source in components:
        for target in components - {source}:
            for port in (8000, 8080, 9002, 9090):
                assert reaches(source, target, port) == ((source, target, port) in NEEDED), (source, target, port)


def test_every_pod_has_a_policy_both_ways_and_can_ask_for_names() -> None:
    found = policies()
    assert found.keys() == pods()[0].keys()
    for component, spec in found.items():
        assert spec["policyTypes"] == ["Ingress", "Egress"]
        assert {"port": 53, "protocol": "UDP"} in spec["egress"][0]["ports"], component


def test_strangers_come_in_only_where_they_may() -> None:
    def namespaces(component: str, port: str) -> set[str]:
        return {
            peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
            for rule in policies()[component]["ingress"]
            if rule["ports"][0]["port"] == port
            for peer in rule["from"]
            if "namespaceSelector" in peer
        }

    assert namespaces("router", "http") == {"apps"}
    assert namespaces("modelserver", "http") == {"apps", "monitoring"}
    assert namespaces("epp", "metrics") == {"monitoring"}
    assert namespaces("epp", "grpc") == set()


def test_only_a_download_opens_the_way_out() -> None:
    def out(*extra: str) -> list[int]:
        return [r["ports"][0]["port"] for r in policies(*extra)["modelserver"]["egress"] if "to" not in r]

    assert out() == [53, 443]
    assert out("--set", "global.networkPolicy.hubEgress=false") == [53]
    assert out("--set", "modelserver.model=/models/m") == [53]


def test_the_proof_reaches_a_router_elsewhere() -> None:
    assert [{"port": 443, "protocol": "TCP"}] in [r["ports"] for r in policies()["proof"]["egress"]]
    with_port = policies("--set", "hooks.proof.routerUrl=http://proxy:9000/v1")["proof"]["egress"]
    assert [{"port": 9000, "protocol": "TCP"}] in [r["ports"] for r in with_port]


def test_the_proof_reaches_the_gateway() -> None:
    rules = policies("--set", "hooks.proof.routerUrl=null", "--set", "global.router.mode=gateway")["proof"]["egress"]
    label = {"gateway.networking.k8s.io/gateway-name": "kv-gateway"}
    assert {"to": [{"podSelector": {"matchLabels": label}}]} in rules
    assert [80, 443] in [[p["port"] for p in r["ports"]] for r in rules if "to" not in r]


def test_no_policies_unless_asked_for() -> None:
    assert not [o for o in helm.objects("default") if o["kind"] == "NetworkPolicy"]

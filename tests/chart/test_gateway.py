"""Gateway and route of each provider. What is missing here is a 404, or an answer that ends in the middle."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.chart import helm

CLASSES = {
    "default": "istio",
    "gateway-gke": "gke-l7-regional-external-managed",
    "gateway-gke-internal": "gke-l7-rilb",
    "gateway-kgateway": "kgateway",
    "gateway-kgateway-openshift": "agentgateway",
    "gateway-agentgateway": "agentgateway",
    "gateway-agentgateway-openshift": "agentgateway",
    "gateway-openshift": "openshift-default",
    "gateway-custom": "nginx",
}
EXTRAS = {
    "default": {"DestinationRule"},
    "gateway-openshift": {"DestinationRule"},
    "gateway-gke": {"HealthCheckPolicy", "GCPBackendPolicy"},
    "gateway-gke-internal": {"HealthCheckPolicy", "GCPBackendPolicy"},
    "gateway-kgateway-openshift": {"AgentgatewayParameters"},
    "gateway-agentgateway-openshift": {"AgentgatewayParameters"},
}


def spec(scenario: str, kind: str, suffix: str) -> dict[str, Any]:
    return helm.one(helm.objects(scenario), kind, suffix)["spec"]


def preflight(scenario: str) -> dict[str, Any]:
    pod = spec(scenario, "Job", "-preflight")["template"]["spec"]
    return json.loads(pod["containers"][0]["args"][2])


@pytest.mark.parametrize("scenario", CLASSES)
def test_provider_brings_its_class_and_what_it_needs(scenario: str) -> None:
    assert spec(scenario, "Gateway", "-gateway")["gatewayClassName"] == CLASSES[scenario]
    kinds = {o["kind"] for o in helm.objects(scenario)}
    assert kinds & set().union(*EXTRAS.values()) == EXTRAS.get(scenario, set())
    seen = preflight(scenario)
    assert seen["gatewayClass"] == CLASSES[scenario]
    crds = {c["name"].partition(".")[0] for c in seen["crds"]}
    assert len(
        crds & {"destinationrules", "healthcheckpolicies", "gcpbackendpolicies", "agentgatewayparameters"}
    ) == len(EXTRAS.get(scenario, set())), "else Helm stops at a kind that the cluster lacks"


@pytest.mark.parametrize("scenario", [*CLASSES, "gateway-existing"])
def test_no_timeout_cuts_a_long_generation(scenario: str) -> None:
    timeouts = [rule.get("timeouts") for rule in spec(scenario, "HTTPRoute", "-route")["rules"]]
    if "gke" in scenario:
        assert not any(timeouts), "its controller refuses the field"
        assert spec(scenario, "GCPBackendPolicy", "-pool")["default"]["timeoutSec"] >= 3600
    elif scenario in ("gateway-custom", "gateway-existing"):
        assert not any(timeouts)
    else:
        assert timeouts == [{"request": "0s", "backendRequest": "0s"}]


@pytest.mark.parametrize("scenario", [*CLASSES, "gateway-existing"])
def test_everything_goes_to_the_pool(scenario: str) -> None:
    objs = helm.objects(scenario)
    rules = spec(scenario, "HTTPRoute", "-route")["rules"]
    if scenario != "gateway-existing":
        (rule,) = rules
        assert rule["matches"] == [{"path": {"type": "PathPrefix", "value": "/"}}] and "filters" not in rule
    pool = helm.one(objs, "InferencePool", "-pool")["metadata"]["name"]
    ref = {"group": "inference.networking.k8s.io", "kind": "InferencePool", "name": pool}
    assert rules and all(rule["backendRefs"] == [ref] for rule in rules)
    for o in objs:
        if o["kind"] in ("HealthCheckPolicy", "GCPBackendPolicy"):
            assert o["spec"]["targetRef"] == ref


def test_istio_reaches_the_picker() -> None:
    """It makes its certificate itself, so there is nothing to verify it against; and only labelled Gateways ask it."""
    rule = spec("default", "DestinationRule", "-epp")
    assert rule["host"] == "kv-epp.inference.svc.cluster.local"
    assert rule["trafficPolicy"]["tls"] == {"mode": "SIMPLE", "insecureSkipVerify": True}
    labels = helm.one(helm.objects("default"), "Gateway", "-gateway")["metadata"]["labels"]
    assert labels["istio.io/enable-inference-extproc"] == "true"


def overlay(*extra: str) -> dict[str, Any]:
    """What istiod merges into the Deployment and the Service that it makes."""
    objs = helm.objects("default", *extra)
    ref = helm.one(objs, "Gateway", "-gateway")["spec"]["infrastructure"]["parametersRef"]
    made = helm.one(objs, "ConfigMap", "-gateway")
    assert (ref["group"], ref["kind"], ref["name"]) == ("", made["kind"], made["metadata"]["name"])
    return {part: helm.load_yaml(text)[0] for part, text in made["data"].items()}


def test_istios_proxy_is_admitted_to_a_restricted_namespace() -> None:
    """Its own template names no seccomp profile."""
    pod = overlay()["deployment"]["spec"]["template"]["spec"]
    assert pod == {"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}}


def test_istios_proxy_has_the_service_and_resources_of_the_values() -> None:
    assert overlay()["service"] == {"spec": {"type": "ClusterIP"}}
    made = overlay("--set", "gateway.istio.serviceType=NodePort", "--set", "gateway.istio.resources.requests.cpu=2")
    assert made["service"] == {"spec": {"type": "NodePort"}}
    (container,) = made["deployment"]["spec"]["template"]["spec"]["containers"]
    assert container == {"name": "istio-proxy", "resources": {"requests": {"cpu": "2"}}}


def test_openshift_chooses_the_proxys_user() -> None:
    for scenario in ("gateway-kgateway-openshift", "gateway-agentgateway-openshift"):
        ref = spec(scenario, "Gateway", "-gateway")["infrastructure"]["parametersRef"]
        made = helm.one(helm.objects(scenario), "AgentgatewayParameters", "-gateway")
        assert (ref["kind"], ref["name"]) == (made["kind"], made["metadata"]["name"])
        (container,) = made["spec"]["deployment"]["spec"]["template"]["spec"]["containers"]
        assert container["securityContext"]["$patch"] == "replace"
        assert "runAsUser" not in container["securityContext"]
        assert container["securityContext"]["runAsNonRoot"] is True


def test_tls_listener() -> None:
    listeners = {li["name"]: li for li in spec("gateway-gke", "Gateway", "-gateway")["listeners"]}
    assert listeners.keys() == {"http", "https"}
    assert listeners["https"]["tls"]["certificateRefs"] == [{"kind": "Secret", "name": "llm-example-com"}]
    alone = helm.objects("gateway-gke", "--set", "gateway.tls.keepHttp=false")
    assert [li["port"] for li in helm.one(alone, "Gateway", "-gateway")["spec"]["listeners"]] == [443]


def test_a_gateway_of_others_only_gets_the_route() -> None:
    objs = helm.objects("gateway-existing")
    assert not [o for o in objs if o["kind"] == "Gateway"]
    (parent,) = helm.one(objs, "HTTPRoute", "-route")["spec"]["parentRefs"]
    assert (parent["name"], parent["namespace"], parent["sectionName"]) == ("shared", "gateways", "https")
    assert preflight("gateway-existing")["gatewayClass"] == ""
    assert not [
        rule for o in objs if o["kind"] == "ClusterRole" for rule in o["rules"] if "gatewayclasses" in rule["resources"]
    ]


def test_two_releases_share_a_gateway_by_host_path_or_model() -> None:
    """Of two routes that take everything, the younger one never sees a request."""
    rules = spec("gateway-existing", "HTTPRoute", "-route")["rules"]
    path = {"type": "PathPrefix", "value": "/qwen3"}
    assert [rule["matches"] for rule in rules] == [
        [{"path": path, "headers": [{"name": "X-Gateway-Model-Name", "value": model}]}]
        for model in ("Qwen/Qwen3-32B", "sql")
    ]
    for rule in rules:
        (rewrite,) = rule["filters"]
        assert rewrite["urlRewrite"]["path"] == {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}
    for way in ("gateway.hostnames={a.example.com}", "gateway.pathPrefix=/", "gateway.models={Qwen/Qwen3-32B}"):
        assert helm.objects("default", "--set", f"gateway.existing.name=shared,{way}")

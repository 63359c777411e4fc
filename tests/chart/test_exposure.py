"""Who can reach vLLM: nobody from the internet without a key, and the hooks know the key."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.chart import helm

BALANCED = "global.router.mode=standalone,inferencepool.envoy.serviceType=LoadBalancer"
KEY = "modelserver.apiKey.secretName=vllm-key"
SCHEME = r"inferencepool.envoy.serviceAnnotations.service\.beta\.kubernetes\.io/aws-load-balancer-scheme"


def service(*settings: str) -> dict[str, Any]:
    return helm.one(helm.objects("default", "--set", ",".join((BALANCED, *settings))), "Service", "-router")


def test_a_load_balancer_is_an_internal_one_on_every_cloud() -> None:
    """The default of most clouds is public, and vLLM asks for no key."""
    notes = service()["metadata"]["annotations"]
    assert notes["networking.gke.io/load-balancer-type"] == "Internal"
    for cloud in ("azure-load-balancer-internal", "aws-load-balancer-internal", "openstack-internal-load-balancer"):
        assert notes[f"service.beta.kubernetes.io/{cloud}"] == "true"
    assert (
        "annotations"
        not in helm.one(helm.objects("default", "--set", "global.router.mode=standalone"), "Service", "-router")[
            "metadata"
        ]
    )


def test_the_users_annotations_win() -> None:
    made = service(
        "inferencepool.envoy.serviceAnnotations.x=y", "inferencepool.envoy.loadBalancerClass=lb.example.com/l4"
    )
    assert made["metadata"]["annotations"]["x"] == "y"
    assert made["spec"]["loadBalancerClass"] == "lb.example.com/l4"
    assert service(f"{SCHEME}=internet-facing", KEY)["metadata"]["annotations"][
        SCHEME.split(".", 3)[3].replace("\\", "")
    ] == ("internet-facing")


@pytest.mark.parametrize("setting", ["inferencepool.envoy.public=true", f"{SCHEME}=internet-facing"])
def test_what_the_internet_reaches_asks_for_a_key(setting: str) -> None:
    said = helm.refusal("--set", f"{BALANCED},{setting}")
    assert said.count("\n  - ") == 1 and "set modelserver.apiKey.secretName" in said
    made = service("inferencepool.envoy.public=true", KEY, "inferencepool.envoy.loadBalancerSourceRanges={10.0.0.0/8}")
    assert "annotations" not in made["metadata"]
    assert made["spec"]["loadBalancerSourceRanges"] == ["10.0.0.0/8"]


ISTIO = "gateway.istio.serviceType=LoadBalancer"


def overlay(*settings: str) -> dict[str, Any]:
    """What istiod merges into its proxy's Service."""
    made = helm.one(
        helm.objects("default", *(("--set", ",".join(settings)) if settings else ())), "ConfigMap", "-gateway"
    )
    (service,) = helm.load_yaml(made["data"]["service"])
    return dict(service)


def test_istios_proxy_is_the_clusters_own_unless_asked_for() -> None:
    """A default that puts a vLLM without a key on the internet is nobody's wish."""
    assert overlay() == {"spec": {"type": "ClusterIP"}}
    notes = overlay(ISTIO)["metadata"]["annotations"]
    assert notes == service()["metadata"]["annotations"], "one rule for both"
    own = overlay(ISTIO, r"gateway.istio.serviceAnnotations.example\.com/pool=a")["metadata"]["annotations"]
    assert own == {**notes, "example.com/pool": "a"}


def test_istios_proxy_is_public_with_a_key_only() -> None:
    said = helm.refusal("--set", f"{ISTIO},gateway.istio.public=true")
    assert said.count("\n  - ") == 1 and "gateway.istio.serviceType is LoadBalancer" in said
    assert "set modelserver.apiKey.secretName" in said
    assert "metadata" not in overlay(ISTIO, "gateway.istio.public=true", KEY)


def container(objs: list[helm.Object], kind: str, suffix: str) -> dict[str, Any]:
    spec: dict[str, Any] = helm.one(objs, kind, suffix)["spec"]["template"]["spec"]["containers"][0]
    return spec


def from_secret(name: str, key: str) -> dict[str, Any]:
    return {"secretKeyRef": {"name": name, "key": key}}


ENV = "modelserver.extraEnv[0].name=VLLM_API_KEY,modelserver.extraEnv[0].valueFrom.secretKeyRef"


@pytest.mark.parametrize(
    ("settings", "name", "key"),
    [(KEY, "vllm-key", "api-key"), (f"{ENV}.name=mine,{ENV.split(',')[1]}.key=k", "mine", "k")],
)
def test_vllm_asks_for_the_key_and_the_hooks_know_it(settings: str, name: str, key: str) -> None:
    """Else the proof is refused with 401 and fails the release, however well the cache works."""
    objs = helm.objects("default", "--set", f"benchmark.enabled=true,{settings}")
    for kind, suffix, variable in (
        ("Deployment", "-modelserver", "VLLM_API_KEY"),
        ("Job", "-proof", "API_KEY"),
        ("Job", "-benchmark", "OPENAI_API_KEY"),
    ):
        env = {e["name"]: e.get("valueFrom") for e in container(objs, kind, suffix)["env"]}
        assert env[variable] == from_secret(name, key), suffix
    assert json.loads(container(objs, "Job", "-proof")["args"][2])["apiKeyEnv"] == "API_KEY"
    wanted = json.loads(container(objs, "Job", "-preflight")["args"][2])["secrets"]
    assert {"name": name, "key": key, "required": True, "neededFor": "modelserver.apiKey"} in wanted
    roles = [o for o in objs if o["kind"] == "Role" and o["metadata"]["name"].endswith("-preflight")]
    assert any(name in rule.get("resourceNames", ()) for rule in roles[0]["rules"])


def test_the_proof_may_have_a_key_of_its_own() -> None:
    objs = helm.objects("default", "--set", f"{KEY},hooks.proof.apiKey.secretName=proof-key")
    (entry,) = container(objs, "Job", "-proof")["env"]
    assert entry["valueFrom"] == from_secret("proof-key", "api-key")


def test_a_key_among_the_arguments_would_be_read_by_all() -> None:
    assert "set modelserver.apiKey.secretName" in helm.refusal("--set", "modelserver.extraArgs={--api-key=s3cret}")


def test_pull_secrets_given_as_objects_can_be_read_by_name() -> None:
    objs = helm.objects("default", "--set", "global.imagePullSecrets[0].name=mirror")
    role = next(o for o in objs if o["kind"] == "Role" and o["metadata"]["name"].endswith("-preflight"))
    assert ["llm-d-hf-token", "mirror"] in [rule.get("resourceNames") for rule in role["rules"]]

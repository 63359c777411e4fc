"""The hook Jobs are called as the hooks want to be called."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmd_storage_hooks.claim.config import ClaimConfig
from llmd_storage_hooks.core.config import parse
from llmd_storage_hooks.preflight.config import PreflightConfig
from llmd_storage_hooks.probe.config import ProbeConfig
from llmd_storage_hooks.proof.config import ProofConfig
from tests.chart import helm

KINDS = {
    "preflight": PreflightConfig,
    "claim": ClaimConfig,
    "probe": ProbeConfig,
    "proof": ProofConfig,
}


def container(scenario: str, hook: str, *extra: str) -> dict[str, Any]:
    job = helm.one(helm.objects(scenario, *extra), "Job", f"-{hook}")
    return job["spec"]["template"]["spec"]["containers"][0]


def text(scenario: str, hook: str, *extra: str) -> str:
    args: list[str] = container(scenario, hook, *extra)["args"]
    assert args[:2] == [hook, "--config"] and len(args) == 3
    return args[2]


@pytest.mark.parametrize("hook", KINDS)
@pytest.mark.parametrize("scenario", helm.SCENARIOS)
def test_the_hook_itself_takes_its_configuration(scenario: str, hook: str) -> None:
    """An unknown or missing key is exit 2, i.e. a release that fails for no reason of the user's."""
    if scenario == "no-cache" and hook in ("claim", "proof"):
        assert not [o for o in helm.objects(scenario) if o["metadata"]["name"].endswith(f"-{hook}")]
        return
    parsed = parse(KINDS[hook], text(scenario, hook))
    assert (parsed.release, parsed.namespace) == (helm.RELEASE, helm.NAMESPACE)
    job = helm.one(helm.objects(scenario), "Job", f"-{hook}")
    assert parsed.timeout_seconds < job["spec"]["activeDeadlineSeconds"], "it could not say why it stopped"


def test_command_and_image() -> None:
    for hook in KINDS:
        c = container("lab", hook)
        assert c["command"] == ["python3", "-m", "llmd_storage_hooks"]
        assert c["image"] == "localhost/llm-d-storage:0.1.0"


def test_preflight_is_told_what_the_release_needs() -> None:
    seen = json.loads(text("gateway-gke", "preflight"))
    assert {c["name"] for c in seen["crds"]} == {
        "inferencepools.inference.networking.k8s.io",
        "gateways.gateway.networking.k8s.io",
        "httproutes.gateway.networking.k8s.io",
        "podmonitors.monitoring.coreos.com",
        "servicemonitors.monitoring.coreos.com",
        "prometheusrules.monitoring.coreos.com",
        "healthcheckpolicies.networking.gke.io",
        "gcpbackendpolicies.networking.gke.io",
    }
    assert seen["gatewayClass"] == "gke-l7-regional-external-managed"
    assert seen["secrets"] == [
        {
            "name": "llm-d-hf-token",
            "key": "HF_TOKEN",
            "required": True,
            "neededFor": "modelserver.hfToken.enabled=true",
        }
    ]
    assert seen["accelerator"] == {"resource": "nvidia.com/gpu", "claims": [], "perPod": 2, "replicas": 2}
    lab = json.loads(text("lab", "preflight"))
    assert lab["gatewayClass"] == "" and lab["secrets"] == []
    assert {c["name"] for c in lab["crds"]} == {
        "inferencepools.inference.networking.k8s.io",
        "prometheusrules.monitoring.coreos.com",
    }
    assert (lab["storage"]["storageClassName"], lab["storage"]["size"]) == ("cephfs", "8Gi")
    assert json.loads(text("service", "preflight"))["crds"] == []


def test_preflight_knows_a_class_that_this_release_makes() -> None:
    storage = json.loads(text("gcp-lustre", "preflight"))["storage"]
    assert storage["createsStorageClass"] is True
    assert (storage["storageClassName"], storage["provisioner"]) == ("lustre-class", "lustre.csi.storage.gke.io")
    assert storage["parameters"]["perUnitStorageThroughput"] == "1000"
    assert json.loads(text("existing-claim", "preflight"))["storage"]["existingClaim"] == "team-kv-cache"


def test_every_hook_knows_where_its_report_goes() -> None:
    """The preflight too, at an install: whoever renders with `helm template` never upgrades."""
    for hook in KINDS:
        assert json.loads(text("lab", hook))["reportConfigMap"] == "kv-storage-report"


@pytest.mark.parametrize("hook", KINDS)
def test_every_hook_may_say_on_its_own_job_why_it_failed(hook: str) -> None:
    """And on no other: a Role names it."""
    objs = helm.objects("lab")
    name = json.loads(text("lab", hook))["jobName"]
    assert name == helm.one(objs, "Job", f"-{hook}")["metadata"]["name"]
    rules = [r for r in helm.one(objs, "Role", f"-{hook}")["rules"] if r["apiGroups"] == ["batch"]]
    assert rules == [{"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["patch"], "resourceNames": [name]}]


def test_preflight_knows_where_a_model_server_fits() -> None:
    seen = json.loads(text("default", "preflight"))["workload"]
    assert seen["requests"] == {"cpu": "8", "memory": "200Gi", "nvidia.com/gpu": "2"}
    assert seen["limits"] == {"nvidia.com/gpu": "2"}
    assert (seen["replicas"], seen["shmSize"], seen["cpuTierSize"]) == (2, "106496Mi", "100Gi")
    assert json.loads(text("lmcache", "preflight"))["workload"]["cpuTierSize"] == ""
    assert json.loads(text("everything", "preflight"))["workload"]["nodeSelector"] == {"pool": "gpu"}
    assert json.loads(text("default", "preflight"))["podSecurity"] == "restricted"
    assert json.loads(text("everything", "preflight"))["podSecurity"] == "", "whose containers they are is not known"


def test_the_preflight_looks_at_the_claim_of_the_model() -> None:
    assert json.loads(text("default", "preflight"))["modelClaim"] == ""
    assert json.loads(text("model-claim-hpa", "preflight"))["modelClaim"] == "models"
    rules = helm.one(helm.objects("model-claim-hpa"), "Role", "-preflight")["rules"]
    (names,) = [rule["resourceNames"] for rule in rules if rule["resources"] == ["persistentvolumeclaims"]]
    assert names == ["kv-kv-cache", "models"]


def test_the_preflight_knows_by_which_protocol_a_static_volume_is_mounted() -> None:
    """Azure Files' driver takes SMB unless the volume says otherwise."""
    protocol = "storage.persistentVolume.csi.volumeAttributes.protocol=nfs"
    seen = json.loads(text("static-gcp-lustre", "preflight", "--set", protocol))["storage"]
    assert seen["static"] and seen["parameters"]["protocol"] == "nfs"


def test_pull_secrets_are_looked_at_too() -> None:
    (secret,) = [s for s in json.loads(text("standalone", "preflight"))["secrets"] if s["name"] == "mirror"]
    assert (secret["key"], secret["required"]) == (".dockerconfigjson", False)
    rules = helm.one(helm.objects("standalone"), "Role", "-preflight")["rules"]
    (names,) = [r["resourceNames"] for r in rules if r["resources"] == ["secrets"]]
    assert names == ["llm-d-hf-token", "mirror"]


def test_claim_hook_mounts_nothing_and_comes_first() -> None:
    """If it mounted the claim it would wait like the others, and could not say why."""
    objs = helm.objects("lab")
    job = helm.one(objs, "Job", "-claim")
    assert "volumes" not in job["spec"]["template"]["spec"]
    seen = json.loads(text("lab", "claim"))
    assert seen["claimName"] == "kv-kv-cache"
    assert seen["podSelector"] == helm.one(objs, "Service", "-modelserver")["spec"]["selector"]
    weights = {
        name: int(helm.one(objs, "Job", f"-{name}")["metadata"]["annotations"]["helm.sh/hook-weight"])
        for name in ("claim", "probe", "proof")
    }
    assert weights["claim"] < weights["probe"] < weights["proof"]


def test_probe_tries_what_the_connector_does() -> None:
    seen = json.loads(text("everything", "probe"))
    assert seen["path"] == "/mnt/kv-cache"
    assert (seen["publish"], seen["directIo"]) == ("rename_fsync", "off")
    assert seen["floors"] == {"readMiBps": 200, "writeMiBps": 100}
    assert seen["allowInconclusive"] is True
    assert seen["checks"] == {"probe.throughput": "warn"}


def test_proof_asks_the_pods_that_serve_and_the_router() -> None:
    seen = json.loads(text("lab", "proof"))
    assert seen["podSelector"] == helm.one(helm.objects("lab"), "Service", "-modelserver")["spec"]["selector"]
    assert (seen["model"], seen["port"], seen["blockTokens"]) == ("smollm2", 8000, 32)
    assert seen["routerUrl"] == "http://kv-router.inference.svc:80"
    assert seen["readyTimeoutSeconds"] == 900
    assert json.loads(text("service", "proof"))["routerUrl"] == "http://kv-modelserver.inference.svc:8000"
    assert json.loads(text("default", "proof"))["routerUrl"] == ""
    assert json.loads(text("default", "proof"))["model"] == "Qwen/Qwen3-32B"
    assert json.loads(text("external", "proof"))["routerUrl"] == "http://proxy.example.com"


def gateway_rules(scenario: str, *extra: str) -> list[str]:
    """Names of the Gateways that the proof may read."""
    rules = helm.one(helm.objects(scenario, *extra), "Role", "-proof")["rules"]
    return [name for r in rules if "gateways" in r["resources"] for name in r["resourceNames"]]


def test_proof_asks_through_the_gateway_at_the_address_in_its_status() -> None:
    seen = json.loads(text("default", "proof"))["gateway"]
    assert seen == {"name": "kv-gateway", "section": "", "host": "", "path": ""}
    assert json.loads(text("gateway-gke", "proof"))["gateway"]["host"] == "llm.example.com"
    assert gateway_rules("default") == gateway_rules("gateway-gke") == ["kv-gateway"]
    here = ("--set", "gateway.existing.namespace=inference")
    assert json.loads(text("gateway-existing", "proof", *here))["gateway"]["section"] == "https"
    assert json.loads(text("gateway-existing", "proof", *here))["gateway"]["path"] == "/qwen3"
    assert gateway_rules("gateway-existing", *here) == ["shared"]


def test_proof_reads_no_gateway_that_it_does_not_need() -> None:
    elsewhere = ("default", "--set", "hooks.proof.routerUrl=http://x")
    for scenario, *extra in [("gateway-existing",), ("lab",), ("external",), elsewhere]:
        assert "gateway" not in json.loads(text(scenario, "proof", *extra))
        assert gateway_rules(scenario, *extra) == []


def test_router_and_model_services_are_what_the_proof_asks() -> None:
    service = helm.one(helm.objects("lab"), "Service", "-router")
    assert service["spec"]["ports"][0]["port"] == 80
    service = helm.one(helm.objects("service"), "Service", "-modelserver")
    assert service["spec"]["ports"][0]["port"] == 8000


def test_hooks_can_be_switched_off() -> None:
    off = (
        "--set",
        "hooks.preflight.enabled=false,hooks.claim.enabled=false,hooks.probe.enabled=false,hooks.proof.enabled=false",
    )
    objs = helm.objects("lab", *off)
    assert not [o for o in objs if o["kind"] == "Job" or o["metadata"]["name"].endswith("-report")]
    assert {o["metadata"]["name"] for o in objs if o["kind"] == "ServiceAccount"} == {"kv-epp", "kv-evictor"}


def test_the_proof_has_the_servers_key_from_a_secret_that_the_preflight_looks_for() -> None:
    key = ("--set", "hooks.proof.apiKey.secretName=vllm-key")
    assert json.loads(text("lab", "proof", *key))["apiKeyEnv"] == "API_KEY"
    (variable,) = container("lab", "proof", *key)["env"]
    assert variable["valueFrom"]["secretKeyRef"] == {"name": "vllm-key", "key": "api-key"}
    assert {"vllm-key"} <= {one["name"] for one in json.loads(text("lab", "preflight", *key))["secrets"]}
    role = helm.one(helm.objects("lab", *key), "Role", "-preflight")
    assert ["vllm-key"] in [rule.get("resourceNames") for rule in role["rules"]]
    assert "env" not in container("lab", "proof")


def test_the_proof_sees_the_manifests_and_cannot_write_beside_them() -> None:
    pod = helm.one(helm.objects("lab"), "Job", "-proof")["spec"]["template"]["spec"]
    (mount,) = pod["containers"][0]["volumeMounts"]
    assert mount["readOnly"] is True
    assert json.loads(text("lab", "proof"))["claimPath"].startswith(mount["mountPath"])
    assert "volumes" not in helm.one(helm.objects("vllm-fs"), "Job", "-proof")["spec"]["template"]["spec"]


def test_yes_and_no_need_no_quotes() -> None:
    """YAML reads them as true and false."""
    given = "hooks.rwxOverrides.a=true,hooks.rwxOverrides.b=false,hooks.rwxOverrides.c=yes"
    seen = json.loads(text("default", "preflight", "--set", given))
    assert seen["rwxOverrides"] == {"a": "yes", "b": "no", "c": "yes"}

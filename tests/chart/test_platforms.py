"""What single platforms want of every pod: OpenShift, GKE, SELinux."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart import helm


def rendered(folder: Path, values: dict[str, Any], scenario: str = "default") -> list[helm.Object]:
    path = folder / "values.yaml"
    path.write_text(yaml.safe_dump(values))
    return helm.objects(scenario, "-f", str(path))


def pod(objs: list[helm.Object], kind: str, suffix: str) -> dict[str, Any]:
    spec: dict[str, Any] = helm.one(objs, kind, suffix)["spec"]["template"]["spec"]
    return spec


@pytest.mark.parametrize("nothing", ["none", 0])
def test_ids_are_left_to_openshift(tmp_path: Path, nothing: Any) -> None:
    """Any id outside the namespace's range is refused there, and no pod of this chart may be root."""
    ids = dict.fromkeys(("runAsUser", "runAsGroup", "fsGroup"), nothing)
    for where, spec in helm.pod_specs(rendered(tmp_path, {"global": {"podSecurity": ids}})):
        assert not spec["securityContext"].keys() & ids.keys(), where


def test_all_pods_have_one_selinux_label(tmp_path: Path) -> None:
    """Files of another level cannot be read, whatever their owner and mode."""
    label = {"level": "s0:c10,c20"}
    for where, spec in helm.pod_specs(rendered(tmp_path, {"global": {"podSecurity": {"seLinuxOptions": label}}})):
        assert spec["securityContext"]["seLinuxOptions"] == label, where


TAINT = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}


def test_the_probe_can_be_scheduled_where_the_model_servers_are(tmp_path: Path) -> None:
    """GKE taints its GPU nodes, and adds the toleration to pods that ask for GPUs alone: the probe asks for none."""
    node = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": []}]}}
    near = {"weight": 1, "podAffinityTerm": {"topologyKey": "zone"}}
    server = {
        "affinity": {
            "nodeAffinity": node,
            "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [near]},
        },
        "tolerations": [{"key": "team", "operator": "Exists"}],
        "runtimeClassName": "nvidia",
        "schedulerName": "volcano",
        "nodeSelector": {"pool": "gpu"},
    }
    objs = rendered(tmp_path, {"modelserver": server})
    served, probe = pod(objs, "Deployment", "-modelserver"), pod(objs, "Job", "-probe")
    for key in ("runtimeClassName", "schedulerName", "nodeSelector"):
        assert probe[key] == served[key] == server[key]
    assert probe["affinity"]["nodeAffinity"] == served["affinity"]["nodeAffinity"] == node
    assert probe["tolerations"] == [*served["tolerations"], TAINT]
    apart, kept = probe["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert apart["podAffinityTerm"]["topologyKey"] == "kubernetes.io/hostname" and kept == near


def test_a_toleration_that_is_there_is_not_there_twice(tmp_path: Path) -> None:
    assert pod(rendered(tmp_path, {"modelserver": {"tolerations": [TAINT]}}), "Job", "-probe")["tolerations"] == [TAINT]
    assert "tolerations" not in pod(helm.objects("lab"), "Job", "-probe")


def test_names_can_be_asked_of_openshifts_dns() -> None:
    """Its pods listen on 5353, and a policy is for the pod's port."""
    for obj in helm.objects("network-policies"):
        if obj["kind"] == "NetworkPolicy":
            assert {"port": 5353, "protocol": "UDP"} in obj["spec"]["egress"][0]["ports"], obj["metadata"]["name"]


def test_the_container_may_get_what_rdma_needs(tmp_path: Path) -> None:
    server = {
        "containerSecurityContext": {"capabilities": {"add": ["IPC_LOCK"]}, "readOnlyRootFilesystem": False},
        "extraEnvFrom": [{"configMapRef": {"name": "nccl"}}],
    }
    vllm = pod(rendered(tmp_path, {"modelserver": server}), "Deployment", "-modelserver")["containers"][0]
    assert vllm["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": False,
        "capabilities": {"add": ["IPC_LOCK"], "drop": ["ALL"]},
    }
    assert vllm["envFrom"] == server["extraEnvFrom"]


def test_every_object_and_every_pod_carries_what_admission_asks_for() -> None:
    """One object without a label that a policy requires, and the whole release is refused."""
    for obj in helm.objects("everything"):
        where, meta = (obj["kind"], obj["metadata"]["name"]), obj["metadata"]
        assert meta["labels"]["cost-center"] == "42", where
        assert meta["annotations"]["example.com/owner"] == "ml", where
        if obj["kind"] in ("Deployment", "Job"):
            pod_meta = obj["spec"]["template"]["metadata"]
            assert pod_meta["labels"].items() >= {"cost-center": "42", "example.com/net": "open"}.items(), where
            notes = {"example.com/owner": "ml", "example.com/logs": "json"}
            assert pod_meta["annotations"].items() >= notes.items(), where
            assert "cost-center" not in obj["spec"].get("selector", {}).get("matchLabels", {}), where


def test_queues_are_named_on_the_deployment_alone() -> None:
    """Kueue would hold back hook Jobs of its queue, and the install with them."""
    objs = helm.objects("everything")
    queued = [o for o in objs if "kueue.x-k8s.io/queue-name" in o["metadata"]["labels"]]
    assert queued == [helm.one(objs, "Deployment", "-modelserver")]
    assert queued[0]["metadata"]["annotations"]["example.com/reload"] == "true"


def test_hook_jobs_get_no_sidecar_that_keeps_them_from_ending() -> None:
    """An ordinary container of a mesh never ends, so the Job would run into its deadline: the release fails."""
    for obj in helm.objects("benchmark"):
        if obj["kind"] == "Job":
            meta = obj["spec"]["template"]["metadata"]
            assert meta["labels"]["sidecar.istio.io/inject"] == "false", obj["metadata"]["name"]
            assert meta["annotations"]["linkerd.io/inject"] == "disabled", obj["metadata"]["name"]
    off = helm.objects("benchmark", "--set", r"hooks.podLabels.sidecar\.istio\.io/inject=null")
    labels = helm.one(off, "Job", "-proof")["spec"]["template"]["metadata"]["labels"]
    assert "sidecar.istio.io/inject" not in labels


@pytest.mark.parametrize("key", [r"app\.kubernetes\.io/name", r"helm\.sh/resource-policy"])
def test_what_the_chart_sets_itself_is_refused(key: str) -> None:
    said = helm.refusal("--set", f"global.commonLabels.{key}=x")
    assert said.count("\n  - ") == 1 and "global.commonLabels sets" in said and "remove it" in said


def test_a_proxy_in_the_environment_can_be_reached(tmp_path: Path) -> None:
    """Under network policies nothing else goes out, and the download would hang without a word."""
    env = [
        {"name": "HTTPS_PROXY", "value": "http://proxy.corp.example:3128"},
        {"name": "http_proxy", "value": "http://proxy.corp.example:3128/"},
        {"name": "NO_PROXY", "value": ".svc,10.0.0.0/8"},
    ]
    own = {"to": [{"ipBlock": {"cidr": "10.9.0.0/16"}}]}
    values = {
        "global": {"networkPolicy": {"extraEgress": [own]}},
        "modelserver": {"extraEnv": env},
        "benchmark": {"enabled": True},
    }
    objs = rendered(tmp_path, values, "network-policies")
    for component in ("-modelserver", "-benchmark"):
        rules = helm.one(objs, "NetworkPolicy", component)["spec"]["egress"]
        assert rules.count({"ports": [{"port": 3128, "protocol": "TCP"}]}) == 1 and own in rules, component


def test_a_model_is_downloaded_once_for_all_pods() -> None:
    objs = helm.objects("default", "--set", "benchmark.enabled=true,modelserver.modelSource.cacheClaimName=hf")
    for kind, suffix in (("Deployment", "-modelserver"), ("Job", "-benchmark")):
        spec = pod(objs, kind, suffix)
        vllm = spec["containers"][0]
        assert {"name": "HF_HUB_CACHE", "value": "/hub"} in vllm["env"], suffix
        assert {"name": "hub", "mountPath": "/hub"} in vllm["volumeMounts"], suffix
        assert {"name": "hub", "persistentVolumeClaim": {"claimName": "hf"}} in spec["volumes"], suffix


def test_the_count_can_be_left_to_whoever_scales() -> None:
    """Each upgrade would set an autoscaler's count back."""
    objs = helm.objects("default", "--set", "modelserver.replicas=null")
    assert "replicas" not in helm.one(objs, "Deployment", "-modelserver")["spec"]
    kept = helm.objects("default", "--set", "modelserver.replicas=0,hooks.proof.enabled=false")
    assert helm.one(kept, "Deployment", "-modelserver")["spec"]["replicas"] == 0


def test_a_class_outlives_the_release_as_its_claim_does() -> None:
    """A claim whose class is gone cannot grow any more."""
    for keep in (True, False):
        objs = helm.objects("gcp-lustre", "--set", f"storage.keepOnUninstall={str(keep).lower()}")
        for kind in ("StorageClass", "PersistentVolumeClaim"):
            (found,) = (o for o in objs if o["kind"] == kind)
            assert ("helm.sh/resource-policy" in found["metadata"].get("annotations", {})) == keep, kind


def test_objects_of_ones_own_go_with_the_release(tmp_path: Path) -> None:
    own = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine"}, "data": {"a": "{{ b }}"}}
    assert own in rendered(tmp_path, {"extraObjects": [own]})
    assert "/extraObjects/0" in helm.refusal("--set", "extraObjects[0].kind=ConfigMap")


def test_an_admin_of_one_namespace_can_install() -> None:
    """The API server refuses a ClusterRole from one, and the whole install with it."""
    wide = {"ClusterRole", "ClusterRoleBinding", "StorageClass", "PersistentVolume"}
    for scenario in ("lab", "default", "evictor", "gateway-gke"):
        kinds = {o["kind"] for o in helm.objects(scenario, "--set", "global.rbac.clusterScope=false")}
        assert not kinds & wide and {"Role", "RoleBinding"} <= kinds, scenario
        without = helm.objects(scenario, "--set", "global.rbac.create=false")
        assert not {o["kind"] for o in without} & {*wide, "Role", "RoleBinding"}, scenario
        accounts = {o["metadata"]["name"] for o in without if o["kind"] == "ServiceAccount"}
        used = {spec["serviceAccountName"] for _, spec in helm.pod_specs(without) if "serviceAccountName" in spec}
        assert used <= accounts, scenario


def test_a_quota_that_counts_limits_takes_every_container() -> None:
    """Under one, a pod with a container without limits is refused. How much vLLM may take the user has to say."""
    limits = "modelserver.resources.limits.cpu=16,modelserver.resources.limits.memory=256Gi"
    for where, spec in helm.pod_specs(helm.objects("benchmark", "--set", limits)):
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            assert container["resources"]["limits"].keys() >= {"cpu", "memory"}, (where, container["name"])


def test_a_queue_for_everything_would_hold_back_the_hooks() -> None:
    said = helm.refusal("--set", r"global.commonLabels.kueue\.x-k8s\.io/queue-name=gpus")
    assert said.count("\n  - ") == 1 and "set modelserver.labels" in said

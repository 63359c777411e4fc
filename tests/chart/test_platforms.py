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

"""The model server as Kubernetes sees it: where it runs, how many there are, what may stop it."""

from __future__ import annotations

import json
from typing import Any

from tests.chart import helm


def pod(scenario: str, *extra: str) -> dict[str, Any]:
    return helm.one(helm.objects(scenario, *extra), "Deployment", "-modelserver")["spec"]["template"]["spec"]


def test_vendors_words_become_their_resources() -> None:
    for word, resource in (("nvidia", "nvidia.com/gpu"), ("gaudi", "habana.ai/gaudi"), ("amd", "amd.com/gpu")):
        args = ("--set", f"modelserver.accelerator.resource={word}")
        assert pod("default", *args)["containers"][0]["resources"]["limits"][resource] == "2"
        preflight = helm.one(helm.objects("default", *args), "Job", "-preflight")["spec"]["template"]["spec"]
        assert json.loads(preflight["containers"][0]["args"][2])["accelerator"]["resource"] == resource
    args = ("--set", "modelserver.accelerator.resource=none,modelserver.tensorParallelSize=1")
    assert "limits" not in pod("default", *args)["containers"][0]["resources"]


def test_a_model_of_yours_is_mounted_read_only() -> None:
    for scenario, source in (
        ("model-claim-hpa", {"persistentVolumeClaim": {"claimName": "models", "readOnly": True}}),
        ("model-image-keda", {"image": {"pullPolicy": "IfNotPresent"}}),
    ):
        spec = pod(scenario)
        (volume,) = (v for v in spec["volumes"] if v["name"] == "model")
        if "image" in volume:
            assert "@sha256:" in volume["image"].pop("reference")
        assert volume == {"name": "model", **source}
        mount = {"name": "model", "mountPath": "/models", "readOnly": True}
        assert mount in spec["containers"][0]["volumeMounts"]
        assert not [e for e in spec["containers"][0]["env"] if e["name"] == "HF_TOKEN"]
    assert not [v for v in pod("default")["volumes"] if v["name"] == "model"]


def test_an_autoscaler_owns_the_number_of_replicas() -> None:
    """A number in the Deployment would be set back at every upgrade."""
    for scenario, kind, low, high in (
        ("model-claim-hpa", "HorizontalPodAutoscaler", "minReplicas", "maxReplicas"),
        ("model-image-keda", "ScaledObject", "minReplicaCount", "maxReplicaCount"),
    ):
        objs = helm.objects(scenario)
        deployment = helm.one(objs, "Deployment", "-modelserver")
        assert "replicas" not in deployment["spec"]
        scaler = helm.one(objs, kind, "-modelserver")["spec"]
        assert scaler["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
        assert (scaler[low], scaler[high]) == (2, 6)
        preflight = helm.one(objs, "Job", "-preflight")["spec"]["template"]["spec"]["containers"][0]["args"][2]
        seen = json.loads(preflight)
        assert seen["accelerator"]["replicas"] == 2
        assert ("scaledobjects.keda.sh" in {c["name"] for c in seen["crds"]}) == (kind == "ScaledObject")
    assert helm.one(helm.objects("default"), "Deployment", "-modelserver")["spec"]["replicas"] == 2


def test_a_drain_takes_one_model_server_at_a_time() -> None:
    objs = helm.objects("default")
    budget = helm.one(objs, "PodDisruptionBudget", "-modelserver")["spec"]
    labels = helm.one(objs, "Deployment", "-modelserver")["spec"]["template"]["metadata"]["labels"]
    assert budget["maxUnavailable"] == 1
    assert budget["selector"]["matchLabels"].items() <= labels.items()
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow", "else a pod that never starts stops every drain"


def test_where_and_as_whom_it_runs() -> None:
    spec = pod("everything")
    assert (spec["priorityClassName"], spec["runtimeClassName"]) == ("inference", "amd")
    assert spec["serviceAccountName"] == "model-reader"
    assert spec["automountServiceAccountToken"] is False
    assert [c["name"] for c in spec["containers"]] == ["vllm", "sidecar"]
    assert [c["name"] for c in spec["initContainers"]] == ["connector", "trust", "warm"]
    labels = helm.one(helm.objects("everything"), "Deployment", "-modelserver")["spec"]["template"]["metadata"]
    assert labels["labels"]["example.com/cost-centre"] == "42"


def test_all_pods_have_the_ids_that_were_set() -> None:
    """With two ids one pod could not delete the blocks of another."""
    ids = (
        "global.podSecurity.runAsUser=2000,global.podSecurity.fsGroup=3000,global.podSecurity.supplementalGroups={4000}"
    )
    for where, spec in helm.pod_specs(helm.objects("weka", "--set", ids)):
        security = spec["securityContext"]
        assert (security["runAsUser"], security["fsGroup"]) == (2000, 3000), where
        assert security["supplementalGroups"] == [4000], where
    (made,) = (o for o in helm.objects("weka", "--set", ids) if o["kind"] == "StorageClass")
    assert (made["parameters"]["ownerUid"], made["parameters"]["ownerGid"]) == ("2000", "3000")

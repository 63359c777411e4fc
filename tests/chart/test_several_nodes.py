"""Model servers over several nodes: groups of a LeaderWorkerSet, of which every pod serves with its own engines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.chart import helm
from tests.chart.test_modelserver import kv_config

SEVERAL = "several-nodes"


def made(*extra: str) -> helm.Object:
    return helm.one(helm.objects(SEVERAL, *extra), "LeaderWorkerSet", "-modelserver")


def vllm(*extra: str) -> helm.Object:
    return helm.pod_template(made(*extra))["spec"]["containers"][0]


def flags(args: list[str]) -> dict[str, str]:
    return {one: args[at + 1] for at, one in enumerate(args[:-1]) if one.startswith("--")}


def preflight(*extra: str) -> helm.Object:
    job = helm.one(helm.objects(SEVERAL, *extra), "Job", "-preflight")
    return json.loads(job["spec"]["template"]["spec"]["containers"][0]["args"][2])


def test_a_group_has_a_pod_a_node_and_restarts_as_one() -> None:
    spec = made()["spec"]
    assert (spec["replicas"], spec["leaderWorkerTemplate"]["size"]) == (2, 2)
    assert spec["leaderWorkerTemplate"]["restartPolicy"] == "RecreateGroupOnPodRestart"
    assert "leaderTemplate" not in spec["leaderWorkerTemplate"], "a leader is a pod like the others"
    objs = helm.objects(SEVERAL)
    assert not [o for o in objs if o["kind"] == "Deployment" and o["metadata"]["name"].endswith("-modelserver")]
    services = {o["metadata"]["name"] for o in objs if o["kind"] == "Service"}
    shared = spec.get("networkConfig", {}).get("subdomainPolicy", "Shared") == "Shared"
    assert not (shared and made()["metadata"]["name"] in services), "its headless Service would find that name taken"


def test_it_is_the_pod_of_a_deployment_but_for_where_its_engines_are() -> None:
    alone = "modelserver.nodes=1,modelserver.extraArgs={--data-parallel-size,8,--enable-expert-parallel}"
    deployment = helm.one(helm.objects(SEVERAL, "--set", alone), "Deployment", "-modelserver")
    one, several = (json.loads(json.dumps(helm.pod_template(o))) for o in (deployment, made()))
    for pod in (one, several):
        pod["spec"]["containers"][0]["args"] = []
        (spread,) = pod["spec"]["topologySpreadConstraints"]
        pod["revision"] = spread.pop("matchLabelKeys")
    assert one.pop("revision") == ["pod-template-hash"]
    assert several.pop("revision") == ["leaderworkerset.sigs.k8s.io/template-revision-hash"]
    assert one == several


def test_each_pod_has_its_share_of_the_engines_and_says_which() -> None:
    container = vllm()
    given = flags(container["args"])
    assert {key: given[key] for key in ("--nnodes", "--node-rank", "--master-addr", "--data-parallel-size-local")} == {
        "--nnodes": "2",
        "--node-rank": "$(LWS_WORKER_INDEX)",
        "--master-addr": "$(LWS_LEADER_ADDRESS)",
        "--data-parallel-size-local": "8",
    }
    assert given["--data-parallel-size"] == "16" and "--data-parallel-hybrid-lb" in container["args"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "8"
    assert kv_config(container["args"])["kv_connector_extra_config"]["cpu_bytes_to_use"] == 400 * 2**30 // 8
    assert "--nnodes" not in helm.rendered("data-parallel")


@pytest.mark.parametrize(("nodes", "engines", "tensor"), [(2, 16, 4), (4, 4, 8), (3, 6, 1)])
def test_accelerators_are_those_of_the_engines_of_one_node(nodes: int, engines: int, tensor: int) -> None:
    sizes = f"modelserver.nodes={nodes},modelserver.tensorParallelSize={tensor}"
    extra = ("--set", f"{sizes},modelserver.extraArgs={{--data-parallel-size,{engines}}}")
    container = vllm(*extra)
    assert container["resources"]["limits"]["nvidia.com/gpu"] == str(engines // nodes * tensor)
    assert flags(container["args"])["--data-parallel-size-local"] == str(engines // nodes)
    seen = preflight(*extra)
    assert (seen["accelerator"]["perPod"], seen["accelerator"]["replicas"]) == (engines // nodes * tensor, 2 * nodes)
    assert (seen["workload"]["replicas"], seen["workload"]["groups"]) == (2 * nodes, 2)


def test_the_preflight_looks_for_the_controllers_kind() -> None:
    kind = "leaderworkersets.leaderworkerset.x-k8s.io"
    assert kind in {one["name"] for one in preflight()["crds"]}
    alone = "modelserver.nodes=1,modelserver.extraArgs={-dp,8}"
    assert kind not in {one["name"] for one in preflight("--set", alone)["crds"]}
    assert preflight("--set", alone)["workload"]["groups"] == 0


def test_an_autoscaler_adds_groups() -> None:
    for kind, more in (("hpa", "metrics[0].type=Resource"), ("keda", "triggers[0].type=cron")):
        values = f"modelserver.autoscaling.kind={kind},modelserver.autoscaling.{more}"
        objs = helm.objects(SEVERAL, "--set", values)
        group = helm.one(objs, "LeaderWorkerSet", "-modelserver")
        assert "replicas" not in group["spec"]
        scaler = next(o for o in objs if o["kind"] in ("HorizontalPodAutoscaler", "ScaledObject"))
        wanted = {"apiVersion": group["apiVersion"], "kind": group["kind"], "name": group["metadata"]["name"]}
        assert scaler["spec"]["scaleTargetRef"] == wanted


def test_a_long_name_leaves_room_for_what_the_controllers_add() -> None:
    for release in ("r" * 35, "r" * 36, "r" * 53):
        objs = helm.objects(SEVERAL, release=release)
        (group,) = (o for o in objs if o["kind"] == "LeaderWorkerSet")
        assert len(group["metadata"]["name"]) <= 47
    names = {
        o["metadata"]["name"]
        for end in "ab"
        for o in helm.objects(SEVERAL, release="r" * 52 + end)
        if o["kind"] == "LeaderWorkerSet"
    }
    assert len(names) == 2


def test_engines_of_a_group_may_talk_under_network_policies() -> None:
    policy = helm.one(helm.objects(SEVERAL), "NetworkPolicy", "-modelserver")["spec"]
    peer = [{"podSelector": policy["podSelector"]}]
    assert {"from": peer} in policy["ingress"] and {"to": peer} in policy["egress"]
    alone = helm.one(helm.objects("network-policies"), "NetworkPolicy", "-modelserver")["spec"]
    assert not [rule for rule in alone["ingress"] + alone["egress"] if "ports" not in rule]


def test_two_pods_of_one_replica_can_prove_the_cache() -> None:
    assert made("--set", "modelserver.replicas=1")["spec"]["replicas"] == 1


REFUSED = {
    "no engines to spread": ({"extraArgs": []}, "--data-parallel-size in modelserver.extraArgs is 1 (or not there)"),
    "tensor parallel over nodes": ({"extraArgs": [], "tensorParallelSize": 16}, "stay within a node"),
    "pipeline over nodes": ({"extraArgs": ["--pipeline-parallel-size", 2]}, "stay within a node"),
    "uneven": ({"extraArgs": ["-dp", 3]}, "set --data-parallel-size to 2, 4, 8"),
    "recreate": ({"updateStrategy": {"type": "Recreate"}}, "a LeaderWorkerSet knows RollingUpdate alone"),
    "by hand": ({"extraArgs": ["-dp", 2, "--data-parallel-start-rank", 8]}, "modelserver.nodes to spread the engines"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_spread_is_refused_in_a_sentence(tmp_path: Path, case: str) -> None:
    server, why = REFUSED[case]
    path = tmp_path / "values.yaml"
    path.write_text(yaml.safe_dump({"modelserver": server}))
    said = helm.refusal("-f", str(helm.scenario_file(SEVERAL)), "-f", str(path)).splitlines()
    problems = [line for line in said if line.startswith("  - ")]
    assert len(problems) == 1 and why in problems[0], problems

"""Rules that hold for every object of every scenario."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.chart import helm
from tests.chart.test_gateway import CLASSES as GATEWAY_CLASSES

LONG = "a-release-name-of-fifty-three-characters-and-not-less"
HOOK = "helm.sh/hook"
WEIGHT = "helm.sh/hook-weight"
PRE = {"pre-install", "pre-upgrade"}

each_scenario = pytest.mark.parametrize("scenario", helm.SCENARIOS)


def annotations(obj: dict[str, Any]) -> dict[str, str]:
    return obj["metadata"].get("annotations", {})


# Together they have every object that the chart can make.
ALL_OBJECTS = ("everything", "lab", "gateway-gke", "gateway-agentgateway-openshift", "static-nfs", "default")
ALL_OBJECTS += ("standalone", "tiered-router", "gateway-gke-internal")
ALL_OBJECTS += (
    "lmcache",
    "model-claim-hpa",
    "model-image-keda",
    "network-policies",
    "evictor",
    "benchmark",
    "several-nodes",
)


def test_all_objects_are_among_those_scenarios() -> None:
    def made(scenario: str) -> set[tuple[str, str]]:
        named = {(o["kind"], o["metadata"]["name"]) for o in helm.objects(scenario)}
        return {one for one in named if one[0] != "StorageClass"}  # whose name is the user's

    assert set().union(*map(made, helm.SCENARIOS)) == set().union(*map(made, ALL_OBJECTS))


@pytest.mark.parametrize("scenario", ALL_OBJECTS)
def test_names_fit_whatever_the_release_is_called(scenario: str) -> None:
    assert len(LONG) == 53
    for obj in helm.objects(scenario, release=LONG):
        name = obj["metadata"]["name"]
        if obj["kind"] in ("ClusterRole", "ClusterRoleBinding"):
            name = name.partition(":")[2]  # its namespace stands before it
        if obj["kind"] == "PersistentVolume":
            name = name.partition(".")[2]
        if obj["kind"] == "LeaderWorkerSet":
            name += "-9999-0123456789"  # a revision of a group's StatefulSet, which is a label
        # An Indexed Job's pods are called <job>-<index>; a Lease's name is the picker's choice, and a label nowhere.
        assert len(name) + 2 * (obj["kind"] == "Job") <= (253 if obj["kind"] == "Lease" else 63)
        for value in obj["metadata"]["labels"].values():
            assert len(value) <= 63


def test_two_long_release_names_stay_apart() -> None:
    other = LONG[:-1] + "t"
    names = [{o["metadata"]["name"] for o in helm.objects("default", release=r)} for r in (LONG, other)]
    assert not names[0] & names[1]


def test_a_name_that_yaml_takes_for_something_else_stays_a_name() -> None:
    """For Kubernetes' YAML "n" and "on" are booleans and 123 is a number; as names Kubernetes takes them all."""
    values = ("storage.storageClassName=123", "global.nameOverride=n", "modelserver.serviceAccountName=1e3")
    done = helm.helm(
        "template", "on", helm.CHART, *helm.REGISTRY, "-n", "123", *(w for v in values for w in ("--set-string", v))
    )
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        key, _, value = line.strip().partition(": ")
        if key in ("app.kubernetes.io/instance", "namespace", "storageClassName", "serviceAccountName", "claimName"):
            assert value not in ("n", "on", "123", "1e3"), line


def test_two_namespaces_do_not_meet_in_cluster_wide_objects() -> None:
    cluster = []
    for namespace in ("a", "a-b"):
        objs = helm.load_yaml(helm.helm("template", "kv", helm.CHART, *helm.REGISTRY, "-n", namespace).stdout)
        cluster.append({o["metadata"]["name"] for o in objs if o["kind"].startswith("Cluster")})
    assert cluster[0] and not cluster[0] & cluster[1]


@each_scenario
def test_labels_and_namespace(scenario: str) -> None:
    for obj in helm.objects(scenario):
        labels = obj["metadata"]["labels"]
        assert labels["app.kubernetes.io/name"] == "llm-d-storage"
        assert labels["app.kubernetes.io/instance"] == helm.RELEASE
        assert labels["app.kubernetes.io/component"]
        assert labels["helm.sh/chart"] == "llm-d-storage-0.1.0"
        if obj["kind"] not in ("ClusterRole", "ClusterRoleBinding", "StorageClass", "PersistentVolume"):
            assert obj["metadata"]["namespace"] == helm.NAMESPACE
    for obj in helm.objects(scenario):
        if obj["kind"] == "Deployment":
            pod = obj["spec"]["template"]["metadata"]["labels"]
            assert obj["spec"]["selector"]["matchLabels"].items() <= pod.items()
            # A version in the pod's labels would restart a model server for nothing.
            assert "app.kubernetes.io/version" not in pod


@each_scenario
def test_pool_service_monitor_and_proof_select_the_pods_that_serve(scenario: str) -> None:
    objs = helm.objects(scenario)
    templates = {o["metadata"]["name"]: t["metadata"]["labels"] for o in objs if (t := helm.pod_template(o))}
    serving = templates.pop("kv-modelserver")
    assert serving["llm-d.ai/inference-serving"] == "true"
    selectors = [helm.one(objs, "Service", "-modelserver")["spec"]["selector"]]
    selectors += [
        o["spec"]["selector"]["matchLabels"]
        for o in objs
        if o["kind"] in ("InferencePool", "PodMonitor") and not o["metadata"]["name"].endswith("-evictor")
    ]
    for selector in selectors:
        assert selector.items() <= serving.items()
        assert not any(selector.items() <= other.items() for other in templates.values())


@each_scenario
def test_every_pod_is_restricted(scenario: str) -> None:
    """The namespace may enforce the restricted Pod Security level."""
    for where, pod in helm.pod_specs(helm.objects(scenario)):
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True, where
        ids = [security.get(key) for key in ("runAsUser", "runAsGroup", "fsGroup")]
        assert ids == ([None] * 3 if "openshift" in scenario else [1000] * 3), where
        assert security["fsGroupChangePolicy"] == "OnRootMismatch", where
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, where
        assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC"}, where
        for container in pod.get("initContainers", []) + pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, where
            assert container["resources"]["requests"], where
            assert not any("hostPort" in port for port in container.get("ports", [])), where
            assert container.get("command", ["x"])[0] not in ("sh", "bash", "/bin/sh", "/bin/bash"), where
        allowed = {"configMap", "emptyDir", "image", "persistentVolumeClaim", "secret", "projected", "downwardAPI"}
        for volume in pod.get("volumes", []):
            assert (volume.keys() - {"name"}) <= allowed, where


TOKENS = {"epp", "evictor", "preflight", "claim", "probe", "proof"}


@each_scenario
def test_only_pods_that_use_the_api_have_a_token(scenario: str) -> None:
    for where, pod in helm.pod_specs(helm.objects(scenario)):
        component = where.rpartition("-")[2]
        assert pod["automountServiceAccountToken"] == (component in TOKENS), where
        assert pod["enableServiceLinks"] is False, where


LEADS = f"epp-{helm.NAMESPACE}-kv-pool.gateway-api-inference-extension.sigs.k8s.io"
# All that any account of the chart may do, by component: (group, resource, verbs, limited to these names).
ALLOWED: dict[str, set[tuple[str, str, str, str]]] = {
    "epp": {
        ("", "pods", "get list watch", ""),
        ("inference.networking.k8s.io", "inferencepools", "get list watch", ""),
        ("inference.networking.x-k8s.io", "inferenceobjectives", "get list watch", ""),
        ("inference.networking.x-k8s.io", "inferencemodelrewrites", "get list watch", ""),
        ("llm-d.ai", "inferenceobjectives", "get list watch", ""),
        ("llm-d.ai", "inferencemodelrewrites", "get list watch", ""),
        # Only with several pickers: who leads.
        ("coordination.k8s.io", "leases", "create", ""),  # no name can be given for it
        ("coordination.k8s.io", "leases", "get update", LEADS),
        ("coordination.k8s.io", "leases", "get update", ""),  # a picker that chooses the name itself
        ("", "events", "create patch", ""),
    },
    "preflight": {
        ("batch", "jobs", "patch", "kv-preflight"),
        ("storage.k8s.io", "storageclasses", "list", ""),
        ("", "nodes", "list", ""),
        ("", "persistentvolumes", "get", ""),
        *(("gateway.networking.k8s.io", "gatewayclasses", "get", name) for name in GATEWAY_CLASSES.values()),
        ("", "persistentvolumeclaims", "get", "kv-kv-cache"),
        ("", "persistentvolumeclaims", "get", "team-kv-cache"),
        ("", "persistentvolumeclaims", "get", "kv-kv-cache models"),
        ("", "configmaps", "patch", "kv-storage-report"),
        ("", "secrets", "get", "llm-d-hf-token"),
        ("", "secrets", "get", "llm-d-hf-token mirror"),
        ("", "secrets", "get", "llm-d-hf-token vllm-key vllm-tls"),
        ("resource.k8s.io", "resourceclaimtemplates", "get", "two-gpus"),
        # Whether the pods fit.
        *(("", resource, "list", "") for resource in ("resourcequotas", "limitranges", "pods")),
        ("", "namespaces", "get", helm.NAMESPACE),
    },
    "evictor": {
        ("", "configmaps", "get", "kv-evictor"),
        ("coordination.k8s.io", "leases", "create", ""),
        # Of the claim's name.
        *(("coordination.k8s.io", "leases", "get update", claim) for claim in ("kv-kv-cache", "team-kv-cache")),
    },
    "claim": {
        ("batch", "jobs", "patch", "kv-claim"),
        ("", "configmaps", "patch", "kv-storage-report"),
        ("", "persistentvolumeclaims", "get", "kv-kv-cache"),
        ("", "persistentvolumeclaims", "get", "team-kv-cache"),
        ("", "pods", "list", ""),
        ("", "events", "list", ""),
    },
    "probe": {
        ("batch", "jobs", "patch", "kv-probe"),
        ("", "configmaps", "patch", "kv-storage-report"),
        ("", "pods", "list", ""),
        ("", "events", "list", ""),
    },
    "proof": {
        ("batch", "jobs", "patch", "kv-proof"),
        ("", "configmaps", "patch", "kv-storage-report"),
        ("", "pods", "get list", ""),
        ("", "pods/log", "get", ""),
        # Where it takes requests.
        ("gateway.networking.k8s.io", "gateways", "get", "kv-gateway"),
    },
}


@each_scenario
def test_rights_are_on_the_list(scenario: str) -> None:
    for obj in helm.objects(scenario):
        if obj["kind"] not in ("Role", "ClusterRole"):
            continue
        component = obj["metadata"]["labels"]["app.kubernetes.io/component"]
        for rule in obj["rules"]:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    names = " ".join(rule.get("resourceNames", []))
                    right = (group, resource, " ".join(rule["verbs"]), names)
                    assert right in ALLOWED[component], f"{obj['kind']}/{obj['metadata']['name']}"
        if obj["kind"] == "ClusterRole":
            assert component == "preflight" and HOOK in annotations(obj)


def test_cluster_wide_rights_are_to_look_at_what_has_no_namespace() -> None:
    objs = helm.objects("service", "--set", "storage.existingClaim=mine,evictor.enabled=false")
    (role,) = (o for o in objs if o["kind"] == "ClusterRole")
    assert role["rules"] == [
        {"apiGroups": [""], "resources": ["persistentvolumes"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]},
    ]


@each_scenario
def test_what_a_hook_needs_is_there_before_it(scenario: str) -> None:
    """Ordinary objects do not exist yet when a pre-install hook runs."""
    objs = helm.objects(scenario)
    accounts = {o["metadata"]["name"]: annotations(o) for o in objs if o["kind"] == "ServiceAccount"}
    for job in (o for o in objs if o["kind"] == "Job"):
        if "serviceAccountName" not in job["spec"]["template"]["spec"]:
            continue
        events = set(annotations(job)[HOOK].split(","))
        account = accounts[job["spec"]["template"]["spec"]["serviceAccountName"]]
        if events & PRE:
            assert set(account[HOOK].split(",")) == events
            assert int(account[WEIGHT]) < int(annotations(job)[WEIGHT])
        else:
            assert HOOK not in account
    weights = {
        o["kind"]: int(annotations(o)[WEIGHT])
        for o in objs
        if HOOK in annotations(o) and set(annotations(o)[HOOK].split(",")) <= PRE
    }
    assert weights["ServiceAccount"] < weights["Role"] < weights["RoleBinding"] < weights["Job"]


@each_scenario
def test_hook_jobs(scenario: str) -> None:
    objs = helm.objects(scenario)
    jobs = {o["metadata"]["name"].rpartition("-")[2]: o for o in objs if o["kind"] == "Job"}
    none = {"claim", "proof"} if scenario == "no-cache" else set()
    jobs.pop("benchmark", None)
    assert jobs.keys() == {"preflight", "claim", "probe", "proof"} - none
    assert set(annotations(jobs["preflight"])[HOOK].split(",")) == PRE
    for name in jobs.keys() - {"preflight"}:
        assert annotations(jobs[name])[HOOK] == "post-install,post-upgrade,test"
    if "proof" in jobs:
        assert int(annotations(jobs["probe"])[WEIGHT]) < int(annotations(jobs["proof"])[WEIGHT])
    for name, job in jobs.items():
        notes = annotations(job)
        # Kept when it failed, for its log; gone when it succeeded, so that uninstall leaves nothing.
        assert notes["helm.sh/hook-delete-policy"] == "before-hook-creation,hook-succeeded"
        assert "hook-failed" in notes["helm.sh/hook-output-log-policy"]
        spec = job["spec"]
        assert spec["backoffLimit"] == 0
        assert spec["activeDeadlineSeconds"] > 0
        assert "ttlSecondsAfterFinished" not in spec, f"{name}: a sync would run it again for ever"
        assert spec["template"]["spec"]["restartPolicy"] == "Never"


def test_probe_is_two_pods_apart_on_the_claim() -> None:
    job = helm.one(helm.objects("lab"), "Job", "-probe")
    spec = job["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 2, 2)
    pod = spec["template"]["spec"]
    term = pod["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"][0]
    assert term["podAffinityTerm"]["topologyKey"] == "kubernetes.io/hostname"
    labels = spec["template"]["metadata"]["labels"]
    assert term["podAffinityTerm"]["labelSelector"]["matchLabels"].items() <= labels.items()
    env = {e["name"]: e["valueFrom"]["fieldRef"]["fieldPath"] for e in pod["containers"][0]["env"]}
    assert env == {
        "NODE_NAME": "spec.nodeName",
        "PROBE_RUN_ID": "metadata.labels['batch.kubernetes.io/controller-uid']",
    }
    assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == "kv-kv-cache"


def test_report_is_an_ordinary_object_without_data() -> None:
    report = helm.one(helm.objects("lab"), "ConfigMap", "-storage-report")
    assert "data" not in report and HOOK not in annotations(report)


def test_pull_secrets_are_objects_or_names() -> None:
    """As Kubernetes writes them, or as people do."""
    values = ("--set", "global.imagePullSecrets[0].name=one,global.imagePullSecrets[1]=two")
    objs = helm.objects("lab", *values)
    for where, pod in helm.pod_specs(objs):
        assert pod["imagePullSecrets"] == [{"name": "one"}, {"name": "two"}], where
    preflight = helm.one(objs, "Job", "-preflight")["spec"]["template"]["spec"]["containers"][0]["args"][2]
    assert [s["name"] for s in json.loads(preflight)["secrets"]] == ["one", "two"]


def test_images_come_from_the_mirror_and_by_digest() -> None:
    for _, pod in helm.pod_specs(helm.objects("standalone")):
        assert pod["imagePullSecrets"] == [{"name": "mirror"}]
        for container in pod.get("initContainers", []) + pod["containers"]:
            assert container["image"].startswith("registry.example.com/")
            if "llm-d-storage" in container["image"]:
                assert "@sha256:" in container["image"]


def test_every_define_carries_the_charts_name() -> None:
    """Defines are global: a parent's `labels` would silently replace the one of a subchart."""
    seen: dict[str, Path] = {}
    for path in sorted(helm.CHART.rglob("templates/**/*")):
        if path.is_dir():
            continue
        text = path.read_text()
        for name in re.findall(r'define "([^"]+)"', text):
            assert name.startswith("llm-d-storage."), f"{path.name}: {name}"
            assert name not in seen, f"{name} is defined in {seen.get(name)} and in {path}"
            seen[name] = path
        for word in ("lookup ", "randAlphaNum", "genSignedCert", " now ", "generateName", "uuidv4"):
            assert word not in text, f"{path.name}: {word} makes two renders differ"
    used = {
        name
        for path in helm.CHART.rglob("templates/**/*")
        if path.is_file()
        for name in re.findall(r'include "([^"]+)"', path.read_text())
    }
    assert used <= seen.keys()
    unused = {name for name in seen.keys() - used if not name.startswith("llm-d-storage.validate.")}
    assert not unused


def test_all_charts_have_one_version() -> None:
    """The tag of the project's image is the version of whichever chart names it."""
    charts = [helm.load_yaml(path.read_text())[0] for path in helm.CHART.rglob("Chart.yaml")]
    assert len(charts) == 6
    assert {c["version"] for c in charts} == {c["appVersion"] for c in charts} == {"0.1.0"}


def test_chart_lock_is_current() -> None:
    root = helm.CHART.parents[1]
    assert (root / "Chart.lock").resolve() == helm.CHART / "Chart.lock"
    done = helm.helm("dependency", "list", helm.CHART)
    assert done.returncode == 0 and "missing" not in done.stdout + done.stderr, done.stdout
    lock = helm.load_yaml((helm.CHART / "Chart.lock").read_text())[0]
    chart = helm.load_yaml((helm.CHART / "Chart.yaml").read_text())[0]
    assert [(d["name"], d["version"]) for d in lock["dependencies"]] == [
        (d["name"], d["version"]) for d in chart["dependencies"]
    ]

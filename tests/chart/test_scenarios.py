"""Every ci/ scenario gives manifests that an API server takes. If not, a user's `helm install` stops half way."""

from __future__ import annotations

import pytest

from tests.chart import helm, schemas

each_scenario = pytest.mark.parametrize("scenario", helm.SCENARIOS)


@each_scenario
def test_lint_is_clean(scenario: str) -> None:
    done = helm.helm("lint", "--strict", helm.CHART, "-f", helm.scenario_file(scenario))
    assert done.returncode == 0, done.stdout + done.stderr
    # "walk.go" lines are helm's own; a missing icon is the one remark there may be.
    remarks = [line for line in done.stdout.splitlines() if line.startswith("[") and "icon" not in line]
    assert not remarks


@each_scenario
@pytest.mark.parametrize("version", schemas.VERSIONS)
def test_objects_fit_the_schemas(scenario: str, version: str) -> None:
    wrong = {
        f"{obj['kind']}/{obj['metadata']['name']}": found
        for obj in helm.objects(scenario)
        if (found := schemas.problems(obj, version))
    }
    assert not wrong


def test_the_schemas_find_a_wrong_field() -> None:
    """A validator that lets everything through would make the test above worthless."""
    for kind, suffix in (("Deployment", "-modelserver"), ("InferencePool", "-pool"), ("HTTPRoute", "-route")):
        obj = helm.one(helm.objects("default"), kind, suffix)
        assert not schemas.problems(obj, "1.36")
        obj["spec"]["replica"] = 2
        assert schemas.problems(obj, "1.36")


@each_scenario
def test_rendering_twice_gives_the_same_bytes(scenario: str) -> None:
    args = ("template", helm.RELEASE, helm.CHART, "-n", helm.NAMESPACE, "-f", helm.scenario_file(scenario))
    assert helm.helm(*args).stdout == helm.rendered(scenario)


@each_scenario
def test_no_object_and_no_key_is_there_twice(scenario: str) -> None:
    """Server-side apply, Helm 4's default, refuses lists with two entries of one key."""
    objs = helm.objects(scenario)
    ids = [(o["apiVersion"], o["kind"], o["metadata"]["name"]) for o in objs]
    assert len(ids) == len(set(ids))
    for where, pod in helm.pod_specs(objs):
        for container in pod.get("initContainers", []) + pod["containers"]:
            for key, field in (("env", "name"), ("volumeMounts", "mountPath"), ("ports", "containerPort")):
                values = [entry[field] for entry in container.get(key, [])]
                assert len(values) == len(set(values)), f"{where}: {key} {values}"
        volumes = [v["name"] for v in pod.get("volumes", [])]
        assert len(volumes) == len(set(volumes)), where
    for o in objs:
        if o["kind"] == "Service":
            ports = [p["name"] for p in o["spec"]["ports"]]
            assert len(ports) == len(set(ports))


WANTED = {
    "gateway-gke": {
        "Gateway",
        "HTTPRoute",
        "InferencePool",
        "PodMonitor",
        "ServiceMonitor",
        "PrometheusRule",
        "HealthCheckPolicy",
        "GCPBackendPolicy",
    },
    "default": {"Gateway", "HTTPRoute", "InferencePool", "DestinationRule"},
    "gateway-custom": {"Gateway", "HTTPRoute", "InferencePool"},
    "gateway-existing": {"HTTPRoute", "InferencePool"},
    "standalone": {"InferencePool"},
    "lab": {"InferencePool", "PrometheusRule"},
    "external": {"InferencePool"},
    "service": set(),
}


@pytest.mark.parametrize("scenario", WANTED)
def test_kinds_of_other_projects_are_there_only_where_wanted(scenario: str) -> None:
    """Each of them needs a CRD, which a user of another router mode need not have."""
    foreign = {o["kind"] for o in helm.objects(scenario) if o["kind"] in set().union(*WANTED.values())}
    assert foreign == WANTED[scenario]


def test_envoy_is_there_in_standalone_mode_only() -> None:
    for scenario in helm.SCENARIOS:
        has = any(o["metadata"]["name"] == f"{helm.RELEASE}-router" for o in helm.objects(scenario))
        standalone = ("lab", "standalone", "openshift", "tiered-router", "network-policies", "benchmark", "tls")
        assert has == (scenario in standalone), scenario


def test_a_missing_crd_is_one_sentence_where_the_cluster_is_seen() -> None:
    """Else Helm says "no matches for kind" before the preflight can say what to do."""
    seen = ("--api-versions", "apiregistration.k8s.io/v1")
    said = helm.refusal(*seen)
    assert "global.router.mode=gateway needs inferencepools.inference.networking.k8s.io (v1)" in said
    assert "install its CRDs" in said
    done = helm.helm("template", "kv", helm.CHART, *helm.REGISTRY, *seen, "--set", "global.router.mode=service")
    assert done.returncode == 0, done.stderr

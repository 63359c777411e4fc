"""Endpoint picker and Envoy: their configurations are checked by the real programs."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart import helm
from tests.patience import CEILING_S


def picker_config(scenario: str, *extra: str) -> str:
    return helm.one(helm.objects(scenario, *extra), "ConfigMap", "-epp")["data"]["epp.yaml"]


def envoy_config(scenario: str) -> dict[str, Any]:
    return helm.load_yaml(helm.one(helm.objects(scenario), "ConfigMap", "-router")["data"]["envoy.yaml"])[0]


def free_port() -> str:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return str(s.getsockname()[1])


def refused_by_picker(picker: Path, args: list[str], config: Path, tmp_path: Path) -> str | None:
    """What the real picker has against its configuration; it reads it before it needs an API server."""
    kubeconfig = tmp_path / "kubeconfig"
    cluster = {"name": "x", "cluster": {"server": "http://127.0.0.1:1"}}
    context = {"name": "x", "context": {"cluster": "x", "user": "x"}}
    users = [{"name": "x", "user": {}}]
    kubeconfig.write_text(
        json.dumps({"clusters": [cluster], "contexts": [context], "users": users, "current-context": "x"})
    )
    ours = [a for a in args if not re.match(r"--(config-file|(grpc|grpc-health|metrics)-port)=", a)]
    ports = [f"--{name}-port={free_port()}" for name in ("grpc", "grpc-health", "metrics")]
    process = subprocess.Popen(
        [picker, *ours, *ports, f"--config-file={config}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={"KUBECONFIG": str(kubeconfig), "PATH": os.environ["PATH"]},
    )
    timer = threading.Timer(CEILING_S, process.kill)
    timer.start()
    said = []
    try:
        assert process.stdout
        for line in process.stdout:
            if "loaded configuration from file/text successfully" in line:
                return None
            said.append(line)
            if '"logger":"setup"' in line and '"error":' in line:
                break
    finally:
        process.kill()
        process.wait()
        timer.cancel()
    return "".join(said)


def test_a_picker_that_came_after_envoy_is_looked_for_at_once() -> None:
    """Until its first request Envoy would look once a minute only, and refuse or pass the picker by so long."""
    for scenario in ("lab", "standalone"):
        clusters = envoy_config(scenario)["static_resources"]["clusters"]
        (check,) = next(one for one in clusters if one.get("health_checks"))["health_checks"]
        assert check["no_traffic_interval"] == check["interval"] == "2s"


# One for each configuration that differs; the llm-d router's picker is not to be had here.
PICKED = ["default", "lab", "everything", "tiered-router"]


def test_every_configuration_of_the_picker_is_tried() -> None:
    configs = {
        picker_config(s)
        for s in helm.SCENARIOS
        if any(o["kind"] == "InferencePool" for o in helm.objects(s)) and s != "gateway-agentgateway"
    }
    assert configs == {picker_config(s) for s in PICKED}


@pytest.mark.parametrize("scenario", PICKED)
def test_the_real_picker_takes_flags_and_configuration(picker: Path, scenario: str, tmp_path: Path) -> None:
    """It decodes strictly: one wrong field is a crash loop in the cluster."""
    config = tmp_path / "epp.yaml"
    config.write_text(picker_config(scenario))
    pod = helm.one(helm.objects(scenario), "Deployment", "-epp")["spec"]["template"]["spec"]
    assert refused_by_picker(picker, pod["containers"][0]["args"], config, tmp_path) is None


def test_the_real_picker_refuses_a_wrong_one(picker: Path, tmp_path: Path) -> None:
    config = tmp_path / "epp.yaml"
    config.write_text(picker_config("lab").replace("queue-scorer", "cue-scorer"))
    assert refused_by_picker(picker, ["--pool-name=x", "--tracing=false"], config, tmp_path)


def test_weights_come_from_the_values() -> None:
    (config,) = helm.load_yaml(picker_config("everything"))
    (profile,) = config["schedulingProfiles"]
    assert [(p["pluginRef"], p["weight"]) for p in profile["plugins"]] == [
        ("queue-scorer", 1),
        ("prefix-cache-scorer", 2.5),
    ]
    assert [p["type"] for p in config["plugins"]] == ["queue-scorer", "prefix-cache-scorer"]


def test_a_tiered_index_is_as_long_as_the_cpu_tier() -> None:
    """The default follows the accelerator's memory, and forgets what the CPU tier still holds."""
    (config,) = helm.load_yaml(picker_config("tiered-router"))
    (producer,) = (p for p in config["plugins"] if p["type"] == "approx-prefix-cache-producer")
    assert producer["parameters"] == {
        "autoTune": False,
        "blockSizeTokens": 64,
        "lruCapacityPerServer": 100 * 2**30 // (262144 * 64),
    }
    assert {p["pluginRef"] for p in config["schedulingProfiles"][0]["plugins"]} >= {"running-requests-size-scorer"}


def test_the_llm_d_routers_picker_scores_each_tier_apart() -> None:
    """Rendered from its documentation; that picker is not to be had here."""
    (config,) = helm.load_yaml(picker_config("gateway-agentgateway"))
    assert config["apiVersion"] == "llm-d.ai/v1alpha1"
    plugins = {p.get("name", p["type"]): p for p in config["plugins"]}
    refs = [p["pluginRef"] for p in config["schedulingProfiles"][0]["plugins"]]
    assert set(refs) <= plugins.keys() and len(refs) == len(set(refs))
    for scorer, producer in (
        ("accelerator-prefix-scorer", "accelerator-prefixes"),
        ("cpu-prefix-scorer", "cpu-prefixes"),
        ("no-hit-lru-scorer", "accelerator-prefixes"),
    ):
        assert plugins[scorer]["parameters"] == {"prefixMatchInfoProducerName": producer}
        assert plugins[producer]["type"] == "approx-prefix-cache-producer"
    assert plugins["cpu-prefixes"]["parameters"]["lruCapacityPerServer"] == 6400
    assert "active-request-scorer" in refs
    rules = helm.one(helm.objects("gateway-agentgateway"), "Role", "-epp")["rules"]
    assert any(r["apiGroups"] == ["llm-d.ai"] for r in rules)


def test_of_several_pickers_one_leads() -> None:
    """Two that pick would each know half of the prefixes."""
    objs = helm.objects("tiered-router")
    deployment = helm.one(objs, "Deployment", "-epp")["spec"]
    container = deployment["template"]["spec"]["containers"][0]
    assert deployment["replicas"] == 2 and "--ha-enable-leader-election" in container["args"]
    # Envoy asks each of them which one leads; a Gateway cannot.
    assert container["readinessProbe"]["grpc"]["service"] == "liveness"
    picker = next(c for c in envoy_config("tiered-router")["static_resources"]["clusters"] if c["name"] == "picker")
    (endpoint,) = picker["load_assignment"]["endpoints"][0]["lb_endpoints"]
    port = next(p for p in container["ports"] if p["name"] == "grpc-health")["containerPort"]
    assert endpoint["endpoint"]["health_check_config"] == {"port_value": port}
    assert picker["health_checks"][0]["grpc_health_check"] == {"service_name": "readiness"}
    service = helm.one(objs, "Service", "-pickers")
    assert service["spec"]["clusterIP"] == "None"
    address = endpoint["endpoint"]["address"]["socket_address"]["address"]
    assert address == f"{service['metadata']['name']}.{helm.NAMESPACE}.svc"
    gateway = helm.objects("default", "--set", "inferencepool.epp.replicas=2")
    behind = helm.one(gateway, "Deployment", "-epp")["spec"]["template"]["spec"]["containers"][0]
    assert behind["readinessProbe"]["grpc"]["service"] == "readiness"
    rules = helm.one(objs, "Role", "-epp")["rules"]
    # The chart makes their Lease, so that it goes with the release; Argo CD leaves it out, and they make it.
    lease = helm.one(objs, "Lease", "")["metadata"]["name"]
    make, hold = (r for r in rules if r["resources"] == ["leases"])
    assert make["verbs"] == ["create"] and "resourceNames" not in make
    assert hold["verbs"] == ["get", "update"] and hold["resourceNames"] == [lease]
    alone = helm.one(helm.objects("default"), "Deployment", "-epp")["spec"]["template"]["spec"]["containers"][0]
    assert "--ha-enable-leader-election" not in alone["args"]


def test_a_new_configuration_restarts_picker_and_envoy() -> None:
    def checksums(*extra: str) -> list[str]:
        objs = helm.objects("lab", *extra)
        return [
            helm.one(objs, "Deployment", suffix)["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
            for suffix in ("-epp", "-router")
        ]

    before, weights = checksums(), checksums("--set", "inferencepool.scorers.queue=9")
    assert before[0] != weights[0] and before[1] == weights[1]
    assert before[1] != checksums("--set", "inferencepool.failureMode=FailOpen")[1]


def test_pool_points_at_the_picker() -> None:
    objs = helm.objects("external")
    ref = helm.one(objs, "InferencePool", "-pool")["spec"]["endpointPickerRef"]
    service = helm.one(objs, "Service", "-epp")
    assert ref["name"] == service["metadata"]["name"]
    assert ref["port"]["number"] in [p["port"] for p in service["spec"]["ports"]]
    assert ref["failureMode"] == "FailClose"
    assert helm.one(helm.objects("lab"), "InferencePool", "-pool")["spec"]["endpointPickerRef"]["failureMode"] == (
        "FailClose"
    )
    assert helm.one(helm.objects("default"), "InferencePool", "-pool")["spec"]["endpointPickerRef"]["failureMode"] == (
        "FailOpen"
    )


def manager(config: dict[str, Any], step: str = "router") -> dict[str, Any]:
    """The HTTP connection manager of that listener."""
    (listener,) = (one for one in config["static_resources"]["listeners"] if one["name"] == step)
    return listener["filter_chains"][0]["filters"][0]["typed_config"]


@pytest.mark.parametrize("scenario", ["lab", "standalone"])
def test_no_timeout_cuts_a_long_generation(scenario: str) -> None:
    hcm = manager(envoy_config(scenario))
    for one in (hcm, manager(envoy_config(scenario), "picking")):
        assert one["stream_idle_timeout"] == one["request_timeout"] == "0s"
        for route in one["route_config"]["virtual_hosts"][0]["routes"]:
            assert route["route"]["timeout"] == route["route"]["idle_timeout"] == "0s"


def test_clients_cannot_choose_the_address() -> None:
    """Envoy connects to whatever that header names."""
    (extension,) = manager(envoy_config("standalone"))["early_header_mutation_extensions"]
    assert extension["typed_config"]["mutations"] == [{"remove": "x-gateway-destination-endpoint"}]


def test_fail_open_has_somewhere_to_go() -> None:
    def clusters(scenario: str) -> set[str]:
        return {c["name"] for c in envoy_config(scenario)["static_resources"]["clusters"]}

    def passes(scenario: str) -> bool:
        return manager(envoy_config(scenario), "picking")["http_filters"][0]["typed_config"]["failure_mode_allow"]

    assert clusters("lab") == {"picking", "picked", "picker"}
    assert clusters("standalone") == {"picking", "picked", "picker", "any"}
    assert passes("standalone") and not passes("lab")


@pytest.mark.parametrize("scenario", ["lab", "standalone"])
def test_the_real_envoy_takes_its_configuration(envoy: Path, scenario: str, tmp_path: Path) -> None:
    path = tmp_path / "envoy.yaml"
    path.write_text(helm.one(helm.objects(scenario), "ConfigMap", "-router")["data"]["envoy.yaml"])
    argv = [envoy, "--mode", "validate", "--disable-hot-restart", "--config-path", path]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=CEILING_S, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("picker", ["inference-extension", "llm-d-router"])
def test_the_picker_can_prefer_who_has_the_adapter(picker: str) -> None:
    extra = f"inferencepool.picker={picker},inferencepool.epp.image.repository=epp,inferencepool.scorers.loraAffinity=2"
    data = helm.one(helm.objects("default", "--set", extra), "ConfigMap", "-epp")["data"]["epp.yaml"]
    config = helm.load_yaml(data)[0]
    assert {"type": "lora-affinity-scorer"} in config["plugins"]
    assert {"pluginRef": "lora-affinity-scorer", "weight": 2} in config["schedulingProfiles"][0]["plugins"]


def test_a_configuration_of_ones_own_is_taken_as_it_is() -> None:
    own = {"apiVersion": "v1", "kind": "EndpointPickerConfig", "plugins": [{"type": "random-picker"}]}
    for given in (own, yaml.safe_dump(own)):
        extra = ("--set-json", f"inferencepool.pluginsCustomConfig={json.dumps(given)}")
        data = helm.one(helm.objects("default", *extra), "ConfigMap", "-epp")["data"]["epp.yaml"]
        assert helm.load_yaml(data)[0] == own


def test_a_drain_leaves_one_of_several_pickers_and_envoys() -> None:
    """And does not wait for ever for a single one."""

    def budgets(*extra: str) -> dict[str, str]:
        settings = ",".join(("global.router.mode=standalone", *extra))
        return {
            o["metadata"]["name"]: o["spec"]["selector"]["matchLabels"]["app.kubernetes.io/component"]
            for o in helm.objects("default", "--set", settings)
            if o["kind"] == "PodDisruptionBudget" and o["spec"]["maxUnavailable"] == 1
        }

    assert budgets().items() >= {"kv-epp": "epp", "kv-router": "router"}.items()
    single = budgets("inferencepool.epp.replicas=1", "inferencepool.envoy.replicas=1")
    assert not single.keys() & {"kv-epp", "kv-router"}


@pytest.mark.parametrize("mode", ["FailOpen", "FailClose"])
def test_one_late_answer_of_the_picker_changes_nothing(mode: str) -> None:
    extra = f"global.router.mode=standalone,inferencepool.failureMode={mode}"
    data = helm.one(helm.objects("default", "--set", extra), "ConfigMap", "-router")["data"]["envoy.yaml"]
    clusters = {c["name"]: c for c in helm.load_yaml(data)[0]["static_resources"]["clusters"]}
    (check,) = clusters["picker"]["health_checks"]
    assert check["unhealthy_threshold"] >= 2 and check["no_traffic_interval"] == check["interval"]


def test_connections_end_before_the_envoy_that_holds_them() -> None:
    """One that a client keeps is known to nobody else: it would be cut with the request that has just come in."""
    pod = helm.one(helm.objects("standalone"), "Deployment", "-router")["spec"]["template"]["spec"]
    (pause,) = pod["containers"][0]["lifecycle"]["preStop"]["sleep"].values()
    options = manager(envoy_config("standalone"))["common_http_protocol_options"]
    assert 0 < int(options["max_connection_duration"].removesuffix("s")) < pause < pod["terminationGracePeriodSeconds"]


def test_answers_go_by_the_picker_only_where_it_has_to_count_them() -> None:
    """An answer that does ends with the picker, and with it all others that are in flight."""

    def modes(scenario: str, *extra: str) -> set[str]:
        data = helm.one(helm.objects(scenario, *extra), "ConfigMap", "-router")["data"]["envoy.yaml"]
        mode = manager(helm.load_yaml(data)[0], "picking")["http_filters"][0]["typed_config"]["processing_mode"]
        return {mode[f"response_{part}_mode"] for part in ("header", "body", "trailer")}

    assert modes("lab") == {"SKIP", "NONE"}
    assert modes("tiered-router") == {"SEND", "FULL_DUPLEX_STREAMED"}, "it counts requests"
    own = ("--set-json", 'inferencepool.pluginsCustomConfig={"kind":"EndpointPickerConfig"}')
    assert modes("lab", *own) == {"SEND", "FULL_DUPLEX_STREAMED"}

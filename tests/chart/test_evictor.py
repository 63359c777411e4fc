"""The evictor's Deployment: same claim, same ids, and a configuration that it takes."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from tests.chart import helm

SCHEMA = json.loads((helm.CHART.parents[1] / "schemas" / "evictor-config.schema.json").read_text())


def config_of(scenario: str, *extra: str) -> dict[str, Any]:
    return json.loads(helm.one(helm.objects(scenario, *extra), "ConfigMap", "-evictor")["data"]["config.json"])


def config(*extra: str) -> dict[str, Any]:
    return config_of("evictor", *extra)


def test_it_takes_its_configuration() -> None:
    """Its schema is closed: a wrong key is a crash loop, and a full disk some days later."""
    seen = config()
    jsonschema.validate(seen, SCHEMA)
    assert (seen["claim_bytes"], seen["budget_bytes"]) == ("10Ti", "7680Gi")
    assert seen["lease_name"] == "kv-kv-cache"
    assert seen["namespaces"] == [{"model": "Qwen/Qwen3-32B", "pinned": True}]


def test_it_looks_where_the_connector_writes() -> None:
    objs = helm.objects("evictor")
    servers = helm.one(objs, "Deployment", "-modelserver")["spec"]["template"]["spec"]
    evictor = helm.one(objs, "Deployment", "-evictor")["spec"]["template"]["spec"]
    args = servers["containers"][0]["args"]
    connector = json.loads(args[args.index("--kv-transfer-config") + 1])["kv_connector_extra_config"]
    assert config()["root_dir"] == connector["root_dir"]
    for key in ("securityContext",):
        assert evictor[key] == servers[key], "another user could not remove the files"
    (volume,) = (v for v in evictor["volumes"] if v["name"] == "kv-cache")
    assert volume in servers["volumes"]
    assert {"name": "kv-cache", "mountPath": "/mnt/kv-cache"} in evictor["containers"][0]["volumeMounts"]


def test_its_lease_is_all_it_may_touch() -> None:
    """And the ConfigMap that the Lease goes with is one of the release, or it would stay when that is uninstalled."""
    objs = helm.objects("evictor")
    lease, owner = config()["lease_name"], config()["lease_owner"]
    assert helm.one(objs, "ConfigMap", "-evictor")["metadata"]["name"] == owner
    assert helm.one(objs, "Role", "-evictor")["rules"] == [
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"], "resourceNames": [owner]},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
        {
            "apiGroups": ["coordination.k8s.io"],
            "resources": ["leases"],
            "verbs": ["get", "update"],
            "resourceNames": [lease],
        },
    ]


def test_a_new_configuration_restarts_it() -> None:
    def checksum(*extra: str) -> str:
        deployment = helm.one(helm.objects("evictor", *extra), "Deployment", "-evictor")
        return deployment["spec"]["template"]["metadata"]["annotations"]["checksum/config"]

    assert checksum() != checksum("--set-json", "evictor.config.low_watermark=0.5")


def of_the_evictor(scenario: str, *extra: str) -> list[str]:
    return sorted(o["kind"] for o in helm.objects(scenario, *extra) if o["metadata"]["name"].endswith("-evictor"))


def test_it_is_there_by_default_and_off_by_one_value() -> None:
    assert config_of("default")["claim_bytes"] == "18000Gi"
    assert of_the_evictor("default", "--set", "evictor.enabled=false") == ["ConfigMap"]


def test_a_release_without_it_says_so_to_one_that_was_left_behind() -> None:
    """A failed upgrade enables it, a rollback takes it back: its Deployment is in no manifest any more, and runs."""
    off = helm.one(helm.objects("default", "--set", "evictor.enabled=false"), "ConfigMap", "-evictor")
    on = helm.one(helm.objects("default"), "ConfigMap", "-evictor")
    assert off["metadata"] == on["metadata"] and off["data"] == {"wanted": "false"}
    assert set(on["data"]) == {"config.json"}


@pytest.mark.parametrize("scenario", ["lmcache", "vllm-fs", "llmd-fs-backend", "no-cache"])
def test_it_leaves_the_files_of_other_connectors_alone(scenario: str) -> None:
    assert of_the_evictor(scenario) == ["ConfigMap"]


@pytest.mark.parametrize("connector", ["lmcache", "vllm-fs", "llmd-fs-backend"])
def test_it_keeps_another_connectors_directory_where_that_is_said(connector: str) -> None:
    said = config_of(connector, "--set", f"evictor.config.layout={connector}")
    jsonschema.validate(said, SCHEMA)
    assert (said["layout"], said["root_dir"]) == (connector, f"/mnt/kv-cache/{connector}")
    assert "Deployment" in of_the_evictor(connector, "--set", f"evictor.config.layout={connector}")
    wrong = helm.refusal("--set", f"evictor.config.layout={connector}")
    assert f"evictor.config.layout is {connector} but modelserver.connector is llmd-storage" in wrong


def test_a_drain_takes_one_of_two_and_is_not_held_up_by_a_single_one() -> None:
    budget = helm.one(helm.objects("default"), "PodDisruptionBudget", "-evictor")["spec"]
    assert budget["maxUnavailable"] == 1
    assert "PodDisruptionBudget" not in of_the_evictor("default", "--set", "evictor.replicas=1")


def test_a_budget_that_does_not_hold_shows_as_not_ready_and_restarts_nothing() -> None:
    (one,) = helm.one(helm.objects("default"), "Deployment", "-evictor")["spec"]["template"]["spec"]["containers"]
    assert one["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert one["readinessProbe"]["httpGet"]["path"] == "/healthz"


def test_its_settings_are_checked_before_it_starts() -> None:
    said = helm.refusal("--set", "evictor.config.budget=1Ti,evictor.config.low_watermark=2")
    assert "at '/evictor/config': additional properties 'budget' not allowed" in said
    assert "at '/evictor/config/low_watermark'" in said
    assert "'root_dir' not allowed" in helm.refusal("--set", "evictor.config.root_dir=/x"), "the chart sets it"


def test_of_all_evictors_on_one_claim_one_leads() -> None:
    """Two releases may share a claim: two leaders would each remove blocks until their own budget is kept."""
    owner = config()["lease_name"]
    guest = json.loads(
        helm.one(
            helm.objects(
                "default",
                "--set",
                f"storage.existingClaim={owner},evictor.config.budget_bytes=1Ti",
                release="guest",
            ),
            "ConfigMap",
            "guest-evictor",
        )["data"]["config.json"]
    )
    assert guest["lease_name"] == owner and guest["lease_owner"] == "guest-evictor"

"""Accelerators by ResourceClaims (DRA): asked for once, and never taken for a CPU server's absence of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.chart import helm

CLAIMS = "modelserver.accelerator.resourceClaims"


def server(*extra: str) -> helm.Object:
    return helm.one(helm.objects("resource-claims", *extra), "Deployment", "-modelserver")["spec"]["template"]["spec"]


def test_the_pod_has_the_claims_and_vllm_uses_them() -> None:
    pod = server()
    assert pod["resourceClaims"] == [{"name": "gpus", "resourceClaimTemplateName": "two-gpus"}]
    vllm = pod["containers"][0]
    assert vllm["resources"]["claims"] == [{"name": "gpus"}]
    assert vllm["resources"]["requests"] == {"cpu": "8", "memory": "200Gi"}, "asked for twice"
    assert "limits" not in vllm["resources"]
    assert not [c["name"] for c in pod["initContainers"] if "claims" in c["resources"]]
    others = {where: spec for where, spec in helm.pod_specs(helm.objects("resource-claims"))}
    assert [where for where, spec in others.items() if "resourceClaims" in spec] == ["Deployment/kv-modelserver"]


def test_nothing_takes_it_for_a_server_on_cpu() -> None:
    """Two GPUs, vLLM's blocks of 16 tokens, connectors that need a GPU: all of it is refused or different on CPU."""
    for extra in (
        "modelserver.storageTier.blockTokens=48",  # no multiple of the 128 that vLLM has on CPU
        "modelserver.connector=vllm-fs",
        "modelserver.extraArgs={--data-parallel-size,2}",
    ):
        assert server("--set", extra)["resourceClaims"]


def test_the_preflight_looks_for_the_template_and_for_its_kind() -> None:
    job = helm.one(helm.objects("resource-claims"), "Job", "-preflight")["spec"]["template"]["spec"]
    config = json.loads(job["containers"][0]["args"][2])
    assert config["accelerator"] == {
        "resource": "",
        "claims": [{"resource": "resourceclaimtemplates", "name": "two-gpus"}],
        "perPod": 2,
        "replicas": 2,
    }
    crds = [one for one in config["crds"] if one["name"] == "resourceclaims.resource.k8s.io"]
    assert [(one["version"], one["builtInSince"]) for one in crds] == [("v1", "1.34")]


GPUS = {"name": "gpus", "resourceClaimTemplateName": "two-gpus"}
REFUSED = {
    "twice": ("nvidia", [GPUS], "ask for accelerators twice"),
    "both sources": ("none", [GPUS | {"resourceClaimName": "mine"}, GPUS | {"name": "b"}], "with both of"),
    "no source": ("none", [{"name": "gpus"}], "with neither of"),
    "one name": ("none", [GPUS, GPUS], "has two of the name"),
    "one claim for all": ("none", [{"name": "gpus", "resourceClaimName": "mine"}], "all 2 pods would share"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_pod_could_run_with_is_refused_in_a_sentence(tmp_path: Path, case: str) -> None:
    resource, claims, why = REFUSED[case]
    path = tmp_path / "values.yaml"
    accelerator = {"resource": resource, "resourceClaims": claims}
    path.write_text(json.dumps({"modelserver": {"accelerator": accelerator}}))
    said = [line for line in helm.refusal("-f", str(path)).splitlines() if line.startswith("  - ")]
    assert len(said) == 1 and why in said[0], said


def test_one_claim_serves_one_replica(tmp_path: Path) -> None:
    claim = {"name": "gpus", "resourceClaimName": "mine"}
    accelerator = {"resource": "none", "resourceClaims": [claim]}
    values = {"modelserver": {"replicas": 1, "accelerator": accelerator}, "hooks": {"proof": {"enabled": False}}}
    path = tmp_path / "values.yaml"
    path.write_text(json.dumps(values))
    assert server("-f", str(path))["resourceClaims"] == [claim]

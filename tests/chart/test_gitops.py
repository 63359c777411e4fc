"""What GitOps tools do to the chart: they render it without a cluster, and read annotations of their own."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart import helm, schemas
from tests.lab import flux
from tests.lab.paths import lab

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
FLUX = [doc for path in sorted((EXAMPLES / "flux").glob("*.yaml")) for doc in helm.load_yaml(path.read_text())]
ARGO = [doc for path in sorted((EXAMPLES / "argocd").glob("*.yaml")) for doc in helm.load_yaml(path.read_text())]
HOOK, WAVE = "argocd.argoproj.io/hook", "argocd.argoproj.io/sync-wave"


def notes(obj: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = obj["metadata"].get("annotations") or {}
    return found


@pytest.mark.parametrize("scenario", helm.SCENARIOS)
def test_an_upgrade_renders_what_an_install_renders(scenario: str) -> None:
    """Under Argo CD everything is an install: a chart that asks would do there what it does nowhere else."""
    assert helm.rendered(scenario) == helm.rendered(scenario, "--is-upgrade")


@pytest.mark.parametrize("scenario", helm.SCENARIOS)
def test_argo_cd_runs_hooks_when_they_can_help(scenario: str) -> None:
    """A PostSync hook waits for a healthy, that is bound, claim: no use for who says why it is not, or binds it."""
    jobs = {o["metadata"]["name"].removeprefix("kv-"): notes(o) for o in helm.objects(scenario) if o["kind"] == "Job"}
    early = {name for name, found in jobs.items() if found.get(HOOK) == "Sync"}
    assert early == ({"probe"} if scenario == "no-cache" else {"claim"})
    assert all(jobs[name][WAVE] == "0" for name in early), "in a later wave it would wait for the claim, too"
    assert all(HOOK not in found for name, found in jobs.items() if name not in early)


def one(kind: str, docs: list[dict[str, Any]]) -> dict[str, Any]:
    return next(d for d in docs if d["kind"] == kind)


@pytest.mark.parametrize("doc", FLUX, ids=lambda d: d["kind"])
def test_flux_would_take_the_examples(doc: dict[str, Any]) -> None:
    assert flux.crd_files(lab()), "run `python -m tests.lab build tools`"
    assert schemas.problems(doc, schemas.VERSIONS[-1]) == []


@pytest.mark.parametrize(("path", "value"), [(("test", "enabled"), True), (("upgrade", "timeout"), "long")])
def test_flux_would_not_take_a_typo(path: tuple[str, str], value: object) -> None:
    doc = copy.deepcopy(one("HelmRelease", FLUX))
    doc["spec"][path[0]][path[1]] = value
    assert schemas.problems(doc, schemas.VERSIONS[-1])


def test_flux_proves_each_change_and_never_waits_where_a_hook_should_speak() -> None:
    for doc in FLUX:
        if doc["kind"] == "HelmRelease":
            spec = doc["spec"]
            assert spec["test"]["enable"] is True
            assert spec["install"]["disableWait"] and spec["upgrade"]["disableWait"]


def test_flux_waits_longer_than_any_hook() -> None:
    """Else the release fails with "timed out", not with the hook's sentence. Flux's own timeout is five minutes."""
    jobs = [o for o in helm.objects("default", "--set", "benchmark.enabled=true") if o["kind"] == "Job"]
    deadlines = {o["metadata"]["name"].removeprefix("kv-"): o["spec"]["activeDeadlineSeconds"] for o in jobs}
    benchmark = deadlines.pop("benchmark")
    assert 300 < max(deadlines.values()) < 7200 <= benchmark, "docs/gitops.md says so"
    for doc in FLUX:
        if doc["kind"] == "HelmRelease":
            spec = doc["spec"]
            parts = [
                spec,
                *(spec.get(action, {}) for action in ("install", "upgrade", "test", "rollback", "uninstall")),
            ]
            assert {part["timeout"] for part in parts if "timeout" in part} == {"2h"}


def test_flux_leaves_the_last_failure_and_goes_back_after_an_upgrade() -> None:
    """tests/acceptance/cluster/test_flux.py does, with Helm, what these fields have Flux do."""
    for doc in FLUX:
        if doc["kind"] == "HelmRelease":
            assert doc["spec"]["install"]["remediation"] == {"retries": 1, "remediateLastFailure": False}
            back = {"strategy": "rollback", "retries": 0, "remediateLastFailure": True}
            assert doc["spec"]["upgrade"]["remediation"] == back


def test_the_values_of_the_flux_example_are_the_charts(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    (inline,) = [d["spec"]["values"] for d in FLUX if "values" in d["spec"]]
    values.write_text(yaml.safe_dump(inline))
    done = helm.helm("template", "cache", helm.CHART, "-n", "inference", "-f", values)
    assert done.returncode == 0, done.stderr
    names = {o["metadata"]["name"] for o in helm.load_yaml(done.stdout) if o["kind"] == "ConfigMap"}
    assert "cache-storage-report" in names, "the example ignores its data"


def test_the_argo_cd_project_admits_every_cluster_wide_kind_of_the_chart() -> None:
    admitted = {(k["group"], k["kind"]) for k in one("AppProject", ARGO)["spec"]["clusterResourceWhitelist"]}
    for scenario in helm.SCENARIOS:
        for obj in helm.objects(scenario):
            if "namespace" not in obj["metadata"]:
                assert (obj["apiVersion"].rpartition("/")[0], obj["kind"]) in admitted, (scenario, obj["kind"])

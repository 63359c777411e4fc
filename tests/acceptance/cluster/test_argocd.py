"""The chart under a real Argo CD, by the files of examples/argocd; only the repositories' address is another."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.acceptance.cluster.argo_caches import (
    CACHE,
    CLAIM,
    EXAMPLES,
    LATE,
    TEAM,
    VALUES,
    Gitops,
    blocks,
    example,
    late_class,
    merged,
    sweep,
)
from tests.acceptance.cluster.gitops import Application, Repository
from tests.cluster.harness import CHART, LAB_VALUES, Cluster
from tests.lab import argocd
from tests.lab.cluster import target
from tests.lab.paths import lab
from tests.lab.proc import Console
from tests.patience import CEILING_S, eventually

PICKERS_LEASE = f"epp-{CACHE}-cache-pool.gateway-api-inference-extension.sigs.k8s.io"
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(not target(start=False).is_lab, reason="runs its own Argo CD, in the lab's network"),
]
# A release without a model server's pod and without anybody who mounts the claim, but the probe.
SMALL = {
    "global": {"router": {"mode": "service"}},
    "modelserver": {"replicas": 0, "connector": "none"},
    "hooks": {"proof": {"enabled": False}},
}


@pytest.fixture(scope="module")
def argo_cd(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    the_lab, console = lab(), Console(tmp_path_factory.mktemp("argocd") / "log")
    try:
        argocd.end(the_lab)
        sweep(cluster)
        argocd.begin(console, the_lab)
        yield
    finally:
        argocd.end(the_lab)
        sweep(cluster)


@pytest.fixture(scope="module")
def gitops(cluster: Cluster, argo_cd: None, tmp_path_factory: pytest.TempPathFactory) -> Gitops:
    cluster.apply(late_class(cluster))
    where = tmp_path_factory.mktemp("git")
    chart = Repository(where / "llm-d-storage.git")
    shutil.copytree(CHART, chart.path / "charts" / "llm-d-storage")
    chart.commit({})
    base = yaml.safe_load(LAB_VALUES.read_text())
    values = merged(base, {"storage": {"storageClassName": LATE, "size": "1Gi"}})
    deployments = Repository(where / "deployments.git")
    applied = ("project.yaml", "application.yaml", "applicationset.yaml")
    deployments.commit(
        {
            **{f"apps/{name}": example(name, where) for name in applied},
            VALUES: yaml.safe_dump(values),
            "teams/a/values.yaml": yaml.safe_dump(merged(values, SMALL)),
        }
    )
    # As its head says.
    words = ("patch", "configmap", "argocd-cm", "-n", argocd.NAMESPACE, "--type", "merge", "--patch-file")
    cluster.kubectl(*words, str(EXAMPLES / "argocd-cm.yaml")).ok()
    cluster.kubectl("apply", "-f", "-", stdin=example("app-of-apps.yaml", where)).ok()
    return Gitops(cluster, deployments, Application(cluster, "cache"), Application(cluster, "cache-a"), values)


@pytest.fixture(scope="module")
def first(gitops: Gitops) -> dict[str, Any]:
    """The first sync of the cache, by nothing but the root Application."""
    eventually(gitops.cache.exists, "the Application that the root Application makes", every_s=1)
    eventually(
        lambda: gitops.cache.operation().phase in ("Succeeded", "Failed", "Error"),
        "the first sync",
        within_s=3 * CEILING_S,
    )
    one = gitops.cache.operation()
    assert one.phase == "Succeeded", str(one)
    return {"operation": one, "claim": gitops.claim(CACHE), "pods": gitops.release.wait_ready()}


def test_the_first_sync_runs_every_hook_in_its_phase_and_ends_healthy(gitops: Gitops, first: dict[str, Any]) -> None:
    gitops.cache.settle()
    jobs = first["operation"].phases("Job")
    assert jobs == {
        "cache-preflight": "PreSync",
        "cache-claim": "Sync",
        "cache-probe": "PostSync",
        "cache-proof": "PostSync",
    }
    assert gitops.release.report("proof")["verdict"] == "pass"
    label = gitops.cluster.get("namespace", CACHE)["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
    assert label == "restricted"


def test_a_claim_that_waits_for_its_first_consumer_holds_nothing_up(gitops: Gitops, first: dict[str, Any]) -> None:
    """Also where no model server mounts it: then the probe is its first consumer, and begins before all is healthy."""
    mode = gitops.cluster.get("storageclass", LATE)["volumeBindingMode"]
    assert mode == "WaitForFirstConsumer" and first["claim"][1]
    eventually(gitops.team.exists, "the Application that the ApplicationSet makes", every_s=1)
    gitops.team.settle()
    assert gitops.claim(TEAM)[1]
    assert gitops.team.operation().phases("Job") == {"cache-preflight": "PreSync", "cache-probe": "Sync"}


def test_server_side_apply_leaves_no_difference(gitops: Gitops, first: dict[str, Any]) -> None:
    gitops.team.settle()
    options = gitops.team.get()["spec"]["syncPolicy"]["syncOptions"]
    assert "ServerSideApply=true" in options
    managers = gitops.cluster.get("deployment", "cache-modelserver", "-n", TEAM, "--show-managed-fields")
    assert "argocd-controller" in {m["manager"] for m in managers["metadata"]["managedFields"]}
    assert gitops.team.sync().phase == "Succeeded"
    gitops.team.settle()


def test_a_sync_of_nothing_new_proves_again_and_changes_nothing(gitops: Gitops, first: dict[str, Any]) -> None:
    before, proved = gitops.versions(), gitops.release.report("proof")["startedAt"]
    one = gitops.cache.sync()
    assert one.phase == "Succeeded", one.message
    assert gitops.release.report("proof")["startedAt"] > proved
    assert gitops.release.report("preflight")["verdict"] in ("pass", "warn")
    assert gitops.claim(CACHE) == first["claim"]
    assert gitops.release.wait_ready() == first["pods"]
    assert gitops.versions() == before
    gitops.cache.settle()
    assert not gitops.cluster.get("job", "-n", CACHE)["items"], "a hook that succeeded stayed"


def test_what_is_changed_by_hand_is_put_right_without_the_hooks(gitops: Gitops, first: dict[str, Any]) -> None:
    proved = gitops.release.report("proof")["startedAt"]
    wanted = gitops.cluster.get("deployment", "cache-router", "-n", CACHE)["spec"]["replicas"]
    gitops.cluster.kubectl("delete", "service", "cache-router", "-n", CACHE).ok()
    gitops.cluster.kubectl("scale", "deployment/cache-router", "--replicas=0", "-n", CACHE).ok()

    def mended() -> bool:
        services = {s["metadata"]["name"] for s in gitops.cluster.get("service", "-n", CACHE)["items"]}
        router = gitops.cluster.get("deployment", "cache-router", "-n", CACHE)
        return "cache-router" in services and router["spec"]["replicas"] == wanted

    eventually(mended, "the Service and the replicas to be put right", every_s=1)
    gitops.cache.settle()
    assert gitops.release.report("proof")["startedAt"] == proved
    assert gitops.release.wait_ready() == first["pods"]


def test_a_refused_change_fails_the_sync_with_our_sentence_and_touches_nothing(
    gitops: Gitops, first: dict[str, Any]
) -> None:
    before = gitops.versions()
    one = gitops.cache.synced_to(gitops.change(modelserver={"hfToken": {"enabled": True}}))
    assert one.phase == "Failed", one.message
    refused = one.result("Job", "cache-preflight")
    assert refused["hookPhase"] == "Failed"
    assert "llm-d-hf-token" in refused["message"], "the Application does not show our sentence"
    assert not one.phases("Deployment"), "something was applied after the refusal"
    said = gitops.job_log("preflight")
    assert "llm-d-hf-token" in said and "modelserver.hfToken.enabled" in said
    report = json.dumps(gitops.release.report("preflight"))
    assert "llm-d-hf-token" in report
    assert gitops.cache.state() == ("OutOfSync", "Healthy")
    assert gitops.versions() == before
    assert gitops.release.wait_ready() == first["pods"]


def test_changed_values_arrive_and_what_is_left_out_is_pruned(gitops: Gitops, first: dict[str, Any]) -> None:
    def budgets() -> set[str]:
        return {b["metadata"]["name"] for b in gitops.cluster.get("poddisruptionbudget", "-n", CACHE)["items"]}

    before = budgets()
    assert {"cache-modelserver", "cache-evictor"} <= before
    commit = gitops.change(
        modelserver={"hfToken": {"enabled": False}, "podDisruptionBudget": {"enabled": False}},
        inferencepool={"failureMode": "FailOpen"},
    )
    one = gitops.cache.synced_to(commit)
    assert one.phase == "Succeeded", str(one)
    gitops.cache.settle()
    pool = gitops.cluster.get("inferencepool", "cache-pool", "-n", CACHE)
    assert pool["spec"]["endpointPickerRef"]["failureMode"] == "FailOpen"
    assert budgets() == before - {"cache-modelserver"}
    assert gitops.claim(CACHE) == first["claim"]
    assert gitops.release.wait_ready() == first["pods"]


def test_a_cache_that_stores_nothing_any_more_fails_the_sync(gitops: Gitops, first: dict[str, Any]) -> None:
    """The fault is real: the folders of the blocks take no files. The probe's own folder does."""
    # The evictor's own files come and go meanwhile.
    folders = "find /mnt/kv-cache/blocks -name .evictor -prune -o -type d"
    gitops.on_the_claim(f"{folders} -exec chmod a-w {{}} +")
    try:
        one = gitops.cache.sync()
    finally:
        gitops.on_the_claim(f"{folders} -exec chmod u+w {{}} +")
    assert one.phase == "Failed", one.message
    assert one.result("Job", "cache-probe")["hookPhase"] == "Succeeded"
    failed = one.result("Job", "cache-proof")
    assert failed["hookPhase"] == "Failed"
    assert failed["message"].startswith("proof."), f"the Application does not show our sentence: {failed['message']}"
    said = gitops.job_log("proof")
    assert "wrote nothing to the storage tier" in said, said[-1500:]


def test_a_deleted_application_leaves_the_claim_with_its_blocks(gitops: Gitops, first: dict[str, Any]) -> None:
    """By taking its file out of Git: the root Application prunes it, and it takes its objects with it."""
    stored = blocks(gitops.cluster)
    assert stored > 10
    gitops.deployments.commit({"apps/application.yaml": None})
    Application(gitops.cluster, "root").refresh()
    eventually(lambda: not gitops.cache.exists(), "the Application to be gone", every_s=1)
    # Argo CD leaves Leases out by default, so the pickers have made theirs, and it stays: docs/gitops.md.
    kept = {f"persistentvolumeclaim/{CLAIM}", f"lease.coordination.k8s.io/{PICKERS_LEASE}"}
    eventually(lambda: gitops.cluster.objects(CACHE) == kept, f"nothing but {kept}", every_s=2)
    assert gitops.claim(CACHE) == first["claim"]
    assert blocks(gitops.cluster) >= stored
    wide = gitops.cluster.kubectl("get", "clusterroles,clusterrolebindings", "-o", "name").ok().out
    assert CACHE not in wide


def test_a_folder_that_goes_takes_its_application_with_it(gitops: Gitops, first: dict[str, Any]) -> None:
    gitops.deployments.commit({"teams/a/values.yaml": None})
    words = ("annotate", "applicationset", "caches", "-n", argocd.NAMESPACE)
    gitops.cluster.kubectl(*words, "argocd.argoproj.io/application-set-refresh=true").ok()
    eventually(lambda: not gitops.team.exists(), "the Application to be gone", every_s=1)
    eventually(
        lambda: gitops.cluster.objects(TEAM) == {f"persistentvolumeclaim/{CLAIM}"}, "the rest to be gone", every_s=2
    )

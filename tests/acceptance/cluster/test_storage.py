"""Every way to a claim, for real: dynamic, static, brought; shared, resized, rolled back, kept, owned by root.

Model servers run only where KV blocks are what is looked at: one a release, and no proof, which needs two.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.harness import (
    CHART,
    HELM_S,
    LAB_VALUES,
    REUSED_TOKENS,
    STORAGE_HITS,
    STORED_BYTES,
    Answer,
    Cluster,
    Release,
    ask,
    metrics,
)
from tests.patience import eventually

pytestmark = pytest.mark.cluster

HERE, THERE, OPEN = "llmd-storage-here", "llmd-storage-there", "llmd-storage-open"
DRIVER = "cephfs.lab.local"
BLOCKS = "find /mnt/kv-cache/blocks -name '*.kvb' | wc -l"
PROMPT = "A shared cache answers what another server has read before. " * 40

PLAIN = ("evictor.enabled=false", "global.router.mode=service", "hooks.proof.enabled=false")
# Only the claim and what looks at it.
BARE = (*PLAIN, "modelserver.replicas=0", "hooks.claim.enabled=false")
SERVING = (*PLAIN, "modelserver.replicas=1")


@pytest.fixture(scope="module")
def namespaces(cluster: Cluster) -> Iterator[Cluster]:
    """Two namespaces of the restricted level, and one without for a pod of root. Static volumes go with them."""

    def gone() -> None:
        cluster.kubectl("delete", "namespace", HERE, THERE, OPEN, "--ignore-not-found").ok()
        volumes = [v for v in cluster.get("pv")["items"] if v["spec"].get("claimRef", {}).get("namespace") == THERE]
        for volume in volumes:
            cluster.kubectl("delete", "pv", volume["metadata"]["name"], "--ignore-not-found").ok()

    gone()
    cluster.namespace(HERE)
    cluster.namespace(THERE)
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": OPEN}})
    yield cluster
    for name, namespace in (("one", HERE), ("two", HERE), ("three", THERE), ("four", OPEN)):
        cluster.helm("uninstall", name, "-n", namespace, "--ignore-not-found")
    gone()


@pytest.fixture(scope="module")
def one(namespaces: Cluster) -> Release:
    """A claim of the cluster's class, made by the release."""
    release = Release(namespaces, "one", HERE)
    release.upgrade(*SERVING).ok()
    return release


@pytest.fixture(scope="module")
def two(one: Release) -> Release:
    """Another release in the same namespace, on the claim of the first."""
    release = Release(one.cluster, "two", HERE)
    release.upgrade(*BARE, "storage.existingClaim=one-kv-cache").ok()
    return release


@pytest.fixture(scope="module")
def three(one: Release) -> Release:
    """A release in another namespace, on the same filesystem by a static volume; the probe has been there already."""
    release = Release(one.cluster, "three", THERE)
    release.upgrade(*SERVING, *static(one), "hooks.probe.enabled=false").ok()
    return release


def claim(release: Release) -> dict[str, Any]:
    return release.cluster.get("pvc", f"{release.name}-kv-cache", "-n", release.namespace)


def static(release: Release) -> tuple[str, ...]:
    """Settings for a static volume on the filesystem behind that release's claim."""
    volume = release.cluster.get("pv", claim(release)["spec"]["volumeName"])["spec"]["csi"]
    return (
        "storage.storageClassName=null",
        "storage.persistentVolume.create=true",
        f"storage.persistentVolume.csi.driver={DRIVER}",
        f"storage.persistentVolume.csi.volumeHandle={volume['volumeHandle']}",
    )


def size(release: Release) -> str:
    return str(claim(release)["spec"]["resources"]["requests"]["storage"])


def ask_it(release: Release) -> tuple[Answer, dict[str, float]]:
    (pod,) = release.wait_ready(1)
    with release.vllm(pod) as url:
        answer = ask(url, PROMPT)
        return answer, metrics(url)


def look(cluster: Cluster, namespace: str, claim_name: str, command: str, *, user: int = 1000) -> str:
    """What a shell says of the claim, mounted on /mnt/kv-cache."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "look", "namespace": namespace},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsUser": user,
                "runAsNonRoot": user != 0,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "look",
                    "image": "localhost/busybox:1",
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["sh", "-c", command],
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
                    if user
                    else {},
                    "volumeMounts": [{"name": "claim", "mountPath": "/mnt/kv-cache"}],
                }
            ],
            "volumes": [{"name": "claim", "persistentVolumeClaim": {"claimName": claim_name}}],
        },
    }
    cluster.apply(pod)
    try:

        def phase() -> str:
            return str(cluster.get("pod", "look", "-n", namespace)["status"].get("phase"))

        eventually(lambda: phase() in ("Succeeded", "Failed"), "a look at the claim")
        said = cluster.kubectl("logs", "look", "-n", namespace).ok().out.strip()
        assert phase() == "Succeeded", said
        return said
    finally:
        cluster.kubectl("delete", "pod", "look", "-n", namespace, "--ignore-not-found", "--now").ok()


def test_a_dynamic_claim_is_probed_and_takes_blocks(one: Release) -> None:
    assert one.report("probe")["verdict"] == "pass"
    assert claim(one)["status"]["phase"] == "Bound"
    ask_it(one)
    (pod,) = one.wait_ready(1)
    with one.vllm(pod) as url:
        eventually(lambda: metrics(url).get(STORED_BYTES, 0) > 0, "blocks in storage")


def test_another_namespace_answers_from_the_blocks_of_the_first(one: Release, three: Release) -> None:
    first, _ = ask_it(one)
    answer, seen = ask_it(three)
    assert seen[STORAGE_HITS] > 0
    assert seen[REUSED_TOKENS] >= 0.9 * answer.prompt_tokens
    assert answer.tokens == first.tokens


def test_a_second_release_of_a_namespace_uses_the_first_ones_claim(one: Release, two: Release) -> None:
    """It makes none of its own, finds the claim good, and leaves it there when it goes."""
    assert two.report("probe")["verdict"] == "pass"
    assert "persistentvolumeclaim/two-kv-cache" not in two.cluster.objects(HERE)
    two.cluster.helm("uninstall", two.name, "-n", HERE).ok()
    assert claim(one)["status"]["phase"] == "Bound"


def test_a_static_volume_cannot_grow_and_can_go_with_its_release(one: Release, three: Release) -> None:
    """What is removed is Kubernetes' objects: the blocks are the first release's, too."""
    refused = three.upgrade(*BARE, *static(one), "storage.size=16Gi")
    assert refused.code != 0 and "static volume" in refused.text, refused.text[-3000:]
    assert size(three) == "8Gi"
    three.upgrade(*BARE, *static(one), "storage.keepOnUninstall=false", "hooks.probe.enabled=false").ok()
    volume = claim(three)["spec"]["volumeName"]
    three.cluster.helm("uninstall", three.name, "-n", THERE).ok()
    eventually(lambda: not three.cluster.objects(THERE), "an empty namespace", every_s=1)

    def volumes() -> list[str]:
        return three.cluster.kubectl("get", "pv", "-o", "name").ok().out.split()

    eventually(lambda: f"persistentvolume/{volume}" not in volumes(), "the static volume to go", every_s=1)
    one.upgrade(*BARE, "hooks.probe.enabled=false").ok()
    assert int(look(one.cluster, HERE, "one-kv-cache", BLOCKS)) > 0


@pytest.mark.parametrize(
    ("wanted", "why"), [("16Gi", "does not let claims grow (allowVolumeExpansion)"), ("4Gi", "a claim cannot shrink")]
)
def test_a_size_that_the_claim_cannot_have_is_refused_before_anything_is_changed(
    one: Release, wanted: str, why: str
) -> None:
    before = one.cluster.get("deployment", "one-modelserver", "-n", HERE)["metadata"]["generation"]
    refused = one.upgrade(*BARE, f"storage.size={wanted}", "modelserver.maxNumSeqs=4")
    assert refused.code != 0
    assert why in refused.text and "Set storage.size to 8Gi." in refused.text, refused.text[-3000:]
    assert size(one) == "8Gi"
    assert one.cluster.get("deployment", "one-modelserver", "-n", HERE)["metadata"]["generation"] == before


def test_a_rollback_brings_back_what_was_and_keeps_the_claim(one: Release) -> None:
    def history() -> list[dict[str, Any]]:
        found = one.cluster.helm("history", one.name, "-n", HERE, "-o", "json").ok().out
        return json.loads(found)  # type: ignore[no-any-return]

    def note() -> object:
        found = one.cluster.get("deployment", "one-modelserver", "-n", HERE)
        return found["spec"]["template"]["metadata"].get("annotations", {}).get("reason")

    uid = claim(one)["metadata"]["uid"]
    quick = (*BARE, "hooks.probe.enabled=false")
    one.upgrade(*quick).ok()
    good = history()[-1]["revision"]
    one.upgrade(*quick, "modelserver.podAnnotations.reason=worse").ok()
    assert note() == "worse"
    one.cluster.helm("rollback", one.name, str(good), "-n", HERE).ok()
    assert note() is None
    assert history()[-1]["status"] == "deployed"
    assert claim(one)["metadata"]["uid"] == uid


def test_an_upgrade_with_the_same_values_changes_no_byte(one: Release) -> None:
    """What `helm diff` would show: nothing."""
    quick = [word for s in (*BARE, "hooks.probe.enabled=false") for word in ("--set", s)]
    one.upgrade(*quick[1::2]).ok()
    there = one.cluster.helm("get", "manifest", one.name, "-n", HERE).ok().out
    dry = one.cluster.helm(
        *("upgrade", one.name, str(CHART), "-n", HERE, "-f", str(LAB_VALUES), *quick),
        *("--dry-run=server", "-o", "json"),
    )
    said = dry.ok().out
    would, _ = json.JSONDecoder().raw_decode(said[said.index("{") :])
    assert would["manifest"].strip() == there.strip()


def test_another_version_of_the_chart_takes_over_the_release_with_its_blocks(one: Release, tmp_path: Path) -> None:
    """The checkout under another version stands for the next release; tests/chart/test_upgrade.py has all scenarios."""
    one.upgrade(*BARE, "hooks.probe.enabled=false").ok()
    before, blocks = claim(one), look(one.cluster, HERE, "one-kv-cache", BLOCKS)
    chart = tmp_path / CHART.name
    shutil.copytree(CHART, chart)
    version = yaml.safe_load((chart / "Chart.yaml").read_text())["version"]
    for path in chart.rglob("Chart.yaml"):
        path.write_text(path.read_text().replace(version, "97.98.99"))
    # The image is the one that the nodes have.
    sets = [word for s in (*BARE, f"global.image.tag={version}") for word in ("--set", s)]
    argv = ("upgrade", one.name, str(chart), "-n", HERE, "-f", str(LAB_VALUES), "--timeout", f"{HELM_S:.0f}s", *sets)
    one.cluster.helm(*argv).ok()
    after = claim(one)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["metadata"]["labels"]["helm.sh/chart"].endswith("97.98.99")
    assert look(one.cluster, HERE, "one-kv-cache", BLOCKS) == blocks != "0"
    assert one.report("probe")["verdict"] == "pass"
    # And back, as `helm rollback` would.
    one.upgrade(*BARE, "hooks.probe.enabled=false").ok()
    assert claim(one)["metadata"]["uid"] == before["metadata"]["uid"]


def test_a_kept_claim_is_taken_up_again_with_its_blocks(one: Release) -> None:
    before, blocks = claim(one), look(one.cluster, HERE, "one-kv-cache", BLOCKS)
    one.cluster.helm("uninstall", one.name, "-n", HERE).ok()
    assert claim(one)["metadata"]["uid"] == before["metadata"]["uid"]
    one.upgrade(*BARE).ok()
    assert claim(one)["metadata"]["uid"] == before["metadata"]["uid"]
    assert look(one.cluster, HERE, "one-kv-cache", BLOCKS) == blocks != "0"


def test_fsgroup_opens_a_volume_that_belongs_to_root(namespaces: Cluster) -> None:
    """And without it, the probe says what is missing."""
    cluster, name = namespaces, "of-root"
    spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    metadata = {"name": name, "namespace": OPEN}
    cluster.apply({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec})
    closed = "chown 0:0 /mnt/kv-cache && chmod 0755 /mnt/kv-cache && stat -c %g:%a /mnt/kv-cache"
    assert look(cluster, OPEN, name, closed, user=0) == "0:755"

    four = Release(cluster, "four", OPEN)
    values = (*BARE, f"storage.existingClaim={name}", "storage.size=1Gi")
    refused = four.upgrade(*values, "global.podSecurity.fsGroup=none")
    assert refused.code != 0 and "fsGroup" in refused.text, refused.text[-3000:]
    assert look(cluster, OPEN, name, "stat -c %g:%a /mnt/kv-cache", user=0) == "0:755"

    four.upgrade(*values).ok()
    assert look(cluster, OPEN, name, "stat -c %g:%a /mnt/kv-cache", user=0) == "1000:2775"

"""The hooks as a person starts them, on storage that is wrong for real: each gives the sentence it must give."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llmd_storage_hooks.probe.job import manifest as jobs
from tests.cluster.harness import CHART, LAB_VALUES, ROOT, Cluster
from tests.lab import faults, gluster
from tests.lab.cluster import target
from tests.lab.inside import in_node
from tests.lab.paths import lab
from tests.lab.proc import output
from tests.patience import eventually

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(not target(start=False).is_lab, reason="makes mounts on the lab's own nodes"),
]
PLACE = "llmd-hooks"
IMAGE = "localhost/llm-d-storage:0.1.0"
GIB = "1Gi"


class Tool:
    """llmd-storage-hooks from this machine, as the lab's administrator."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def start(self, *args: str, kubeconfig: Path | None = None) -> subprocess.Popen[str]:
        path = f"{self.cluster.helm_binary.parent}:{os.environ['PATH']}"
        env = {**os.environ, "KUBECONFIG": str(kubeconfig or self.cluster.kubeconfig), "PATH": path}
        argv = [sys.executable, "-m", "llmd_storage_hooks", *args, "--output", "json"]
        return subprocess.Popen(
            argv, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
        )

    def finish(self, process: subprocess.Popen[str], on_line: Callable[[str], None] = lambda _: None) -> Report:
        watchdog = threading.Timer(240, process.kill)
        watchdog.start()
        lines = []
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            on_line(line)
        watchdog.cancel()
        return Report(process.wait(), "".join(lines))

    def run(self, *args: str, **more: Any) -> Report:
        return self.finish(self.start(*args, **more))

    def probe(self, claim: str, *args: str) -> Report:
        return self.run(*self.probe_args(claim, *args))

    @staticmethod
    def probe_args(claim: str, *args: str) -> tuple[str, ...]:
        wanted = ("--claim", claim, "-n", PLACE, "--image", IMAGE, "--yes", "--timeout", "150", "--deadline", "30")
        return ("probe", *wanted, *args)


class Report:
    def __init__(self, code: int, text: str) -> None:
        self.code, self.text = code, text
        last = text.strip().rpartition("\n")[2]
        self.body: dict[str, Any] = json.loads(last) if last.startswith("{") else {}
        self.findings = {one["id"]: one for one in self.body.get("findings", ())}

    def says(self, check: str, verdict: str, *words: str) -> None:
        assert check in self.findings, self.text[-4000:]
        one = self.findings[check]
        assert one["verdict"] == verdict, one
        for word in words:
            assert word in f"{one['sentence']} {one['remedy']}", one


@pytest.fixture(scope="module")
def tool(cluster: Cluster) -> Iterator[Tool]:
    def gone() -> None:
        cluster.kubectl("delete", "namespace", PLACE, "--ignore-not-found").ok()
        cluster.kubectl("delete", "pv", "-l", f"made-by={PLACE}", "--ignore-not-found").ok()

    gone()
    cluster.namespace(PLACE)
    yield Tool(cluster)
    gone()
    output(["rm", "-rf", "--one-file-system", lab().run / "shared"])


def claim(
    cluster: Cluster, name: str, size: str = GIB, storage_class: str = "cephfs", mode: str = "ReadWriteMany"
) -> str:
    cluster.apply(claim_of(name, size, storage_class, mode))
    return name


def claim_of(name: str, size: str, storage_class: str, mode: str, volume: str = "") -> dict[str, Any]:
    spec: dict[str, Any] = {
        "accessModes": [mode],
        "storageClassName": storage_class,
        "resources": {"requests": {"storage": size}},
    }
    if volume:
        spec["volumeName"] = volume
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": PLACE},
        "spec": spec,
    }


def folder(name: str) -> Path:
    """One that all nodes see at the same path: the nodes share the machine's disk."""
    path = lab().run / "shared" / name
    path.mkdir(parents=True, exist_ok=True)
    return path


def claim_at(cluster: Cluster, name: str, path: Path) -> str:
    """A claim whose volume is what each node has at `path`, taken as it is."""
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"{PLACE}-{name}", "labels": {"made-by": PLACE}},
        "spec": {
            "capacity": {"storage": GIB},
            "accessModes": ["ReadWriteMany"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "",
            "hostPath": {"path": str(path)},
        },
    }
    cluster.apply(volume, claim_of(name, GIB, "", "ReadWriteMany", f"{PLACE}-{name}"))
    return name


def behind(cluster: Cluster, name: str) -> Path:
    """The folder of a claim on CephFS, seen from the storage's own side."""

    def bound() -> str:
        return str(cluster.get("pvc", name, "-n", PLACE)["spec"].get("volumeName", ""))

    return lab().ceph / "root" / "volumes" / str(eventually(bound, f"claim {name} to be bound"))


def left(cluster: Cluster) -> set[str]:
    return {one for one in cluster.objects(PLACE) if one.startswith(("job", "pod/"))}


def test_cephfs_passes_on_two_nodes_and_nothing_is_left(tool: Tool) -> None:
    report = tool.probe(claim(tool.cluster, "good"))
    assert report.code == 0, report.text[-4000:]
    assert report.body["verdict"] == "pass", report.findings
    assert len(set(report.findings["probe.nodes"]["observed"]["nodes"])) == 2
    numbers = report.body["numbers"]
    assert {"readMiBps", "writeMiBps", "readMiBpsAt8", "writeMiBpsAt8", "createSeconds", "fsyncSeconds"} <= set(numbers)
    assert numbers["staleSeconds"] < 1
    assert left(tool.cluster) == set()
    assert list(behind(tool.cluster, "good").iterdir()) == []


def test_glusterfs_with_its_default_caching_is_refused_by_the_propertys_name(tool: Tool) -> None:
    at = folder("gluster")
    with gluster.mounted(lab(), at):
        report = tool.probe(claim_at(tool.cluster, "gluster", at))
    assert report.code == 1, report.text[-4000:]
    report.says("probe.closetoopen", "fail", "No close-to-open consistency", "with its old content", "GlusterFS")
    assert report.body["numbers"]["filesystem"] == "fuse.glusterfs"


def test_a_class_for_one_node_is_refused_in_the_provisioners_words(tool: Tool) -> None:
    claim(tool.cluster, "one-node-class", storage_class="rwo-only")
    report = tool.run("claim", "--claim", "one-node-class", "-n", PLACE)
    assert report.code == 1, report.text[-4000:]
    report.says(
        "claim.bound", "fail", 'Claim "one-node-class" cannot be bound', "InvalidArgument", "storage.accessMode"
    )


def test_a_claim_bound_to_one_node_is_refused(tool: Tool) -> None:
    claim(tool.cluster, "bound-rwo", storage_class="rwo-only", mode="ReadWriteOnce")
    report = tool.run("claim", "--claim", "bound-rwo", "-n", PLACE)
    assert report.code == 1, report.text[-4000:]
    words = 'Claim "bound-rwo" is bound with access modes ReadWriteOnce, not ReadWriteMany: pods on two nodes'
    report.says("claim.bound", "fail", words)


def test_a_full_volume_is_named(tool: Tool) -> None:
    claim(tool.cluster, "full", "16Mi")
    with contextlib.suppress(OSError), (behind(tool.cluster, "full") / "old-blocks").open("wb", buffering=0) as file:
        for _ in range(64):
            file.write(bytes(1 << 20))
            os.fsync(file.fileno())
    time.sleep(6)  # every client hears of a quota that is used up within one tick of the metadata server
    report = tool.probe("full")
    assert report.code == 1, report.text[-4000:]
    report.says("probe.finished", "fail", "Disk quota exceeded", "The quota of this volume is used up")


@pytest.mark.parametrize("owner", [0, 65534], ids=["of root", "root-squashed"])
def test_a_volume_of_somebody_else_is_named_with_its_owner(tool: Tool, owner: int) -> None:
    at = folder(f"owned-{owner}")
    os.chown(at, owner, owner)
    at.chmod(0o755)
    report = tool.probe(claim_at(tool.cluster, f"owned-{owner}", at), "--timeout", "60")
    assert report.code == 1, report.text[-4000:]
    words = f"belongs to {owner}:{owner}, mode 0755; this pod is uid 1000, groups 1000"
    report.says("probe.finished", "fail", "Permission denied", words, "must not squash")


def test_a_read_only_mount_is_named(tool: Tool) -> None:
    at = folder("read-only")
    at.chmod(0o777)
    nodes = [in_node(lab(), node) for node in lab().nodes]
    try:
        for inside in nodes:
            output([*inside, "mount", "--bind", at, at])
            output([*inside, "mount", "-o", "remount,bind,ro", at])
        report = tool.probe(claim_at(tool.cluster, "read-only", at), "--timeout", "60")
    finally:
        for inside in nodes:
            output([*inside, "umount", "-l", at])
    assert report.code == 1, report.text[-4000:]
    report.says("probe.finished", "fail", "Read-only file system", "The volume is mounted read-only")


def test_a_mount_that_hangs_in_the_middle_is_named_with_step_and_call(tool: Tool) -> None:
    claim(tool.cluster, "hangs")
    node: list[str] = []
    woken = threading.Event()

    def wake() -> None:
        if node and not woken.is_set():
            woken.set()
            faults.send(lab(), f"{node[0]}/ceph-fuse", signal.SIGCONT)

    def on_line(line: str) -> None:
        if "probe[0] meet: done" in line:
            found = [p for p in tool.cluster.get("pods", "-n", PLACE)["items"] if "-0-" in p["metadata"]["name"]]
            node.append(found[0]["spec"]["nodeName"])
            faults.send(lab(), f"{node[0]}/ceph-fuse", signal.SIGSTOP)
        if ": timeout in" in line:
            threading.Timer(15, wake).start()  # when the report is out; the pod cannot end before

    try:
        report = tool.finish(tool.start(*tool.probe_args("hangs", "--deadline", "6")), on_line)
    finally:
        wake()
    assert report.code == 1, report.text[-4000:]
    words = "The filesystem at /mnt/kv-cache did not answer in step"
    report.says("probe.finished", "fail", words, "pod 0 is stuck in: ", "hooks.probe.deadlineSeconds")
    eventually(lambda: not left(tool.cluster), "the probe's pods to be gone")


def test_one_node_only_is_inconclusive(tool: Tool) -> None:
    report = tool.probe(claim(tool.cluster, "one-node"), "--node-selector", "kubernetes.io/hostname=n1")
    assert report.code == 3, report.text[-4000:]
    report.says("probe.nodes", "inconclusive", "Both probe pods ran on one node (n1)", "second node schedulable")


def test_pods_of_two_identities_are_refused_by_their_numbers(tool: Tool) -> None:
    at = folder("identities")
    at.chmod(0o777)
    claim_at(tool.cluster, "identities", at)
    config = {"release": "ids", "namespace": PLACE, "path": jobs.MOUNT, "timeoutSeconds": 60, "deadlineSeconds": 20}
    made = []
    for index, user in enumerate((1000, 2000)):
        job = jobs.ProbeJob(
            name="ids", namespace=PLACE, claim="identities", image=IMAGE, config=config, user=user, group=user
        )
        spec = jobs.manifest(job)["spec"]["template"]["spec"]
        spec["containers"][0]["env"].append({"name": "JOB_COMPLETION_INDEX", "value": str(index)})
        spec["nodeName"] = f"n{index + 1}"
        meta = {"name": f"ids-{index}", "namespace": PLACE}
        made.append({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
    tool.cluster.apply(*made)

    def ended() -> bool:
        pods = tool.cluster.get("pods", "-n", PLACE)["items"]
        return all(p["status"]["phase"] in ("Succeeded", "Failed") for p in pods if p["metadata"]["name"][:4] == "ids-")

    try:
        eventually(ended, "both pods to end", every_s=1)
        logs = [tool.cluster.kubectl("logs", f"ids-{index}", "-n", PLACE).ok().out for index in (0, 1)]
    finally:
        tool.cluster.kubectl("delete", "pods", "ids-0", "ids-1", "-n", PLACE, "--ignore-not-found").ok()
    said = "\n".join(logs)
    assert "Permission denied" in said, said[-4000:]
    assert re.search(r"belongs to (1000:1000|2000:2000), mode 0\d+; this pod is uid (1000|2000)", said), said[-4000:]


def test_ctrl_c_removes_the_job_and_the_scratch_folder(tool: Tool) -> None:
    claim(tool.cluster, "stopped")
    process = tool.start(*tool.probe_args("stopped"))

    def on_line(line: str) -> None:
        if "probe[0] meet: done" in line:
            process.send_signal(signal.SIGINT)

    report = tool.finish(process, on_line)
    assert report.code == 3, report.text[-4000:]
    report.says("probe.finished", "inconclusive", "told to end before it was done")
    assert left(tool.cluster) == set()
    assert sorted(behind(tool.cluster, "stopped").rglob("*")) == [], report.text


def test_preflight_from_a_values_file_passes_within_three_seconds(tool: Tool) -> None:
    report = tool.run(*preflight())
    assert report.code == 0, report.text[-4000:]
    assert report.body["durationSeconds"] < 3
    report.says("preflight.storageclass.rwx", "pass", "cephfs.lab.local")


def test_preflight_without_rights_says_what_it_could_not_check_and_goes_on(tool: Tool, tmp_path: Path) -> None:
    cluster = tool.cluster
    nobody = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "nobody", "namespace": PLACE}}
    cluster.apply(nobody)
    token = cluster.kubectl("create", "token", "nobody", "-n", PLACE).ok().out.strip()
    config = tmp_path / "kubeconfig"
    config.write_bytes(cluster.kubeconfig.read_bytes())
    for words in (
        ("set-credentials", "nobody", f"--token={token}"),
        ("set-context", "--current", "--user=nobody"),
    ):
        cluster.kubectl("config", *words, f"--kubeconfig={config}").ok()
    report = tool.run(*preflight(), kubeconfig=config)
    assert "Traceback" not in report.text
    assert report.code == 0, report.text[-4000:]
    report.says("preflight.kubernetes.version", "pass")
    report.says("preflight.storageclass.exists", "warn", 'Could not check StorageClass "cephfs": not allowed', "nobody")
    unknown = [one for one in report.findings.values() if one["sentence"].startswith("Could not check")]
    assert len(unknown) >= 4, report.findings
    assert all(one["verdict"] == "warn" and one["remedy"] for one in unknown)


def preflight() -> tuple[str, ...]:
    return ("preflight", "-f", str(LAB_VALUES), "--chart", str(CHART), "--release", "cache", "-n", PLACE)

"""What the cluster looks like when a test has failed: CI keeps no cluster to look at."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.cluster.harness import ROOT, Cluster
from tests.lab.cluster import target
from tests.lab.paths import lab

KEPT = ROOT / "build" / "test" / "kept"
_SYSTEM = ("kube-", "default")
_LOG_LINES = 12
_LINE = 300
_EVENTS = 8
_LOG_BYTES = 1 << 20


def folder_of(test: str) -> Path:
    """Where a test's traces are kept; its name, as far as a file's name can hold it."""
    return KEPT / re.sub(r"[^A-Za-z0-9_.-]+", "-", test.removeprefix("tests/"))[:120].strip("-")


def keep(cluster: Cluster, folder: Path) -> None:
    """Writes summary.txt (read it first), objects and events, each pod's whole log, and the lab's own logs' ends."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "summary.txt").write_text(told(cluster) + "\n")
    events = ("get", "events", "-A", "--sort-by=.lastTimestamp", "-o", "wide")
    objects = ("get", "pods,jobs,pvc,configmaps,leases", "-A", "-o", "yaml")
    for name, words in (("events.txt", events), ("objects.yaml", objects)):
        (folder / name).write_text(cluster.kubectl(*words).out)
    for namespace in _namespaces(cluster):
        for pod in _items(cluster, "pods", "-n", namespace):
            name = pod["metadata"]["name"]
            for suffix, words in (("log", ()), ("before.log", ("--previous",))):
                done = cluster.kubectl("logs", name, "-n", namespace, "--all-containers", "--prefix", *words)
                if done.code == 0:
                    (folder / f"{namespace}.{name}.{suffix}").write_text(done.out[-_LOG_BYTES:])
    if target(start=False).is_lab:
        for log in sorted((lab().log / "component").glob("*.log")):
            with log.open("rb") as file:
                file.seek(max(0, log.stat().st_size - _LOG_BYTES))
                (folder / f"lab.{log.name}").write_bytes(file.read())


def told(cluster: Cluster) -> str:
    """Pods with their last words; what the hooks' reports object to; the latest warnings."""
    lines = [line for name in _namespaces(cluster) for line in (*_pods(cluster, name), *_reports(cluster, name))]
    return "\n".join([*lines, *_warnings(cluster)])


def _items(cluster: Cluster, *what: str) -> list[dict[str, Any]]:
    done = cluster.kubectl("get", *what, "-o", "json")
    return list(json.loads(done.out)["items"]) if done.code == 0 else []


def _namespaces(cluster: Cluster) -> list[str]:
    names = [one["metadata"]["name"] for one in _items(cluster, "namespaces")]
    return [name for name in names if not name.startswith(_SYSTEM)]


def _pods(cluster: Cluster, namespace: str) -> Iterator[str]:
    for pod in _items(cluster, "pods", "-n", namespace):
        name, status = pod["metadata"]["name"], pod["status"]
        states = status.get("containerStatuses") or []
        restarts = sum(one["restartCount"] for one in states)
        ready = bool(states) and all(one["ready"] for one in states)
        yield f"{namespace}/{name} {status['phase']} ready={ready} restarts={restarts}"
        if status["phase"] == "Succeeded":
            continue
        log = cluster.kubectl("logs", name, "-n", namespace, "--all-containers", f"--tail={_LOG_LINES}")
        yield from (f"    {line[:_LINE]}" for line in log.out.splitlines()[-_LOG_LINES:])


def _reports(cluster: Cluster, namespace: str) -> Iterator[str]:
    for one in _items(cluster, "configmaps", "-n", namespace):
        if not one["metadata"]["name"].endswith("-storage-report"):
            continue
        for hook, text in (one.get("data") or {}).items():
            for finding in json.loads(text)["findings"]:
                if finding["verdict"] not in ("pass", "skipped"):
                    yield f"{namespace} {hook}: {finding['verdict']} {finding['id']}: {finding['sentence']}"


def _warnings(cluster: Cluster) -> Iterator[str]:
    events = _items(cluster, "events", "-A", "--field-selector=type=Warning", "--sort-by=.lastTimestamp")
    for one in events[-_EVENTS:]:
        about = one["involvedObject"]
        yield f"{one.get('lastTimestamp')} {about['kind']}/{about.get('name')}: {one.get('message', '')[:_LINE]}"

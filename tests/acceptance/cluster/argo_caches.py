"""What the Argo CD tests work on: the caches that the files of examples/argocd make, on a class that binds late."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.acceptance.cluster.gitops import Application, Repository
from tests.cluster.harness import ROOT, Cluster, Release
from tests.patience import eventually

EXAMPLES = ROOT / "examples" / "argocd"
SERVER = "https://git.example.com/"
CACHE, TEAM = "inference", "cache-a"  # namespaces of the examples
LATE = "cephfs-late"
CLAIM = "cache-kv-cache"
VALUES = "caches/cache/values.yaml"


@dataclass
class Gitops:
    """The two repositories, and the Applications that the root Application makes of them."""

    cluster: Cluster
    deployments: Repository
    cache: Application
    team: Application
    values: dict[str, Any]

    @property
    def release(self) -> Release:
        return Release(self.cluster, "cache", CACHE)

    def change(self, **values: Any) -> str:
        """Commits values of the cache, merged into those before. Returns the commit."""
        self.values = merged(self.values, values)
        return self.deployments.commit({VALUES: yaml.safe_dump(self.values)})

    def claim(self, namespace: str) -> tuple[str, str]:
        found = self.cluster.get("pvc", CLAIM, "-n", namespace)
        return found["metadata"]["uid"], found["spec"]["volumeName"]

    def job_log(self, hook: str) -> str:
        out = self.cluster.kubectl("logs", "-n", CACHE, f"job/cache-{hook}").ok().out
        return " ".join(out.split())

    def versions(self) -> dict[str, str]:
        """What would tell that an object of the release was touched: all but what status, reports and hooks change."""
        kinds = "service,configmap,inferencepool,role,rolebinding,serviceaccount,poddisruptionbudget"
        items = self.cluster.get(kinds, "-n", CACHE)["items"]
        deployments = self.cluster.get("deployment", "-n", CACHE)["items"]
        seen = {f"{i['kind']}/{i['metadata']['name']}": i["metadata"]["resourceVersion"] for i in items}
        theirs = ("storage-report", "PodDisruptionBudget", "-preflight")
        ours = {k: v for k, v in seen.items() if not any(t in k for t in theirs)}
        return ours | {f"Deployment/{d['metadata']['name']}": str(d["metadata"]["generation"]) for d in deployments}

    def on_the_claim(self, script: str) -> str:
        pod = self.release.wait_ready()[0]
        words = ("exec", "-n", CACHE, pod, "-c", "vllm", "--", "sh", "-c", script)
        return self.cluster.kubectl(*words).ok().out


def merged(base: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    out = dict(base)
    for key, value in more.items():
        out[key] = merged(out[key], value) if isinstance(value, dict) and isinstance(out.get(key), dict) else value
    return out


def late_class(cluster: Cluster) -> dict[str, Any]:
    """The lab's class, but bound only when a pod that uses the claim has a node."""
    found = cluster.get("storageclass", "cephfs")
    keep = ("apiVersion", "kind", "provisioner", "parameters", "reclaimPolicy", "allowVolumeExpansion")
    made = {k: found[k] for k in keep if k in found}
    return made | {"metadata": {"name": LATE}, "volumeBindingMode": "WaitForFirstConsumer"}


def example(name: str, repositories: Path) -> str:
    return (EXAMPLES / name).read_text().replace(SERVER, f"file://{repositories}/")


def sweep(cluster: Cluster) -> None:
    """Takes away what the Applications made, when no Argo CD is there to make it anew."""
    gone = ("delete", "namespace", CACHE, TEAM, "--ignore-not-found", "--timeout=200s")
    cluster.kubectl(*gone).ok()
    wide = cluster.kubectl("get", "clusterroles,clusterrolebindings", "-o", "name").ok().out.split()
    left = [name for name in wide if name.split("/")[1].startswith((f"{CACHE}:", f"{TEAM}:"))]
    if left:
        cluster.kubectl("delete", *left).ok()
    cluster.kubectl("delete", "storageclass", LATE, "--ignore-not-found").ok()


def blocks(cluster: Cluster) -> int:
    """Blocks on the claim, counted by a pod of its own."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "count", "namespace": CACHE},
        "spec": {
            "restartPolicy": "Never",
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 1000,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "volumes": [{"name": "kv", "persistentVolumeClaim": {"claimName": CLAIM}}],
            "containers": [
                {
                    "name": "count",
                    "image": "localhost/busybox:1",
                    "command": ["sh", "-c", "find /kv/blocks -name '*.kvb' | wc -l"],
                    "volumeMounts": [{"name": "kv", "mountPath": "/kv", "readOnly": True}],
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                }
            ],
        },
    }
    cluster.apply(pod)
    eventually(
        lambda: cluster.get("pod", "count", "-n", CACHE)["status"]["phase"] == "Succeeded",
        "the blocks to be counted",
    )
    count = int(cluster.kubectl("logs", "count", "-n", CACHE).ok().out)
    cluster.kubectl("delete", "pod", "count", "-n", CACHE, "--grace-period=0").ok()
    return count

# SPDX-License-Identifier: Apache-2.0
"""The manifest of the Job that `probe --claim` makes. The chart's own Job is in its templates."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MOUNT = "/mnt/kv-cache"
NAME_LABEL = "app.kubernetes.io/name"
NAME = "llm-d-storage-probe"
# The probe ends that long before Kubernetes ends the Job, so that it can still report why.
MARGIN_S = 20
# If this program is killed, Kubernetes removes the Job by itself after that.
TTL_S = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeJob:
    """What can be set. timeout_seconds: of the whole Job, pulling the image included."""

    name: str
    namespace: str
    claim: str
    image: str
    config: Mapping[str, Any]  # of the probe, as JSON
    user: int = 1000
    group: int = 1000
    pull_secret: str = ""
    node_selector: Mapping[str, str] = field(default_factory=dict)
    timeout_seconds: int = 600


def manifest(job: ProbeJob) -> dict[str, Any]:
    """An Indexed Job of two pods, on two nodes where possible, that meets the restricted Pod Security Standard."""
    labels = {NAME_LABEL: NAME, "app.kubernetes.io/instance": job.name}
    spread = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": labels}}
    container = {
        "name": "probe",
        "image": job.image,
        "command": ["python3", "-m", "llmd_storage_hooks"],
        "args": ["probe", "--output", "json", "--config", json.dumps(job.config)],
        "env": [
            {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "PROBE_RUN_ID", "value": job.name},
        ],
        "volumeMounts": [{"name": "kv-cache", "mountPath": MOUNT}],
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": job.user,
            "runAsGroup": job.group,
            "fsGroup": job.group,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "affinity": {
            "podAntiAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": spread}]
            }
        },
        "containers": [container],
        "volumes": [{"name": "kv-cache", "persistentVolumeClaim": {"claimName": job.claim}}],
    }
    if job.node_selector:
        pod["nodeSelector"] = dict(job.node_selector)
    if job.pull_secret:
        pod["imagePullSecrets"] = [{"name": job.pull_secret}]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": job.name, "namespace": job.namespace, "labels": labels},
        "spec": {
            "completionMode": "Indexed",
            "completions": 2,
            "parallelism": 2,
            "backoffLimit": 0,
            "activeDeadlineSeconds": job.timeout_seconds,
            "ttlSecondsAfterFinished": TTL_S,
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def description(claim: str, image: str, namespace: str) -> str:
    """What the Job will do, for the question whether to go on."""
    return (
        f'This makes a Job in namespace {namespace}: two pods of {image} that mount claim "{claim}", write below '
        ".probe/ on it and remove that again. The Job is removed at the end, also after Ctrl-C."
    )

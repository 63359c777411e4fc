# SPDX-License-Identifier: Apache-2.0
"""JSON of the Kubernetes API to objects. Odd input gives an empty object, never an exception."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llmd_storage_hooks.core.kube import objects
from llmd_storage_hooks.core.kube.quantities import quantity

# By which label a pod says what template it is of: a Deployment's, or a LeaderWorkerSet's.
_GENERATIONS = ("pod-template-hash", "leaderworkerset.sigs.k8s.io/template-revision-hash")


def mapping(raw: Any, *path: str) -> dict[str, Any]:
    """The object at `path`; empty when there is none."""
    for key in path:
        raw = raw.get(key) if isinstance(raw, dict) else None
    return raw if isinstance(raw, dict) else {}


def dicts(raw: Any, key: str) -> list[dict[str, Any]]:
    """The objects in the list `key`; what is no object is left out."""
    items = raw.get(key) if isinstance(raw, dict) else None
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def condition(raw: Any, kind: str) -> dict[str, Any]:
    """The condition `kind` of an object's status; empty when it has none."""
    conditions = dicts(mapping(raw, "status"), "conditions")
    return next((one for one in conditions if one.get("type") == kind), {})


def claim(raw: Any) -> objects.Claim:
    """A PersistentVolumeClaim."""
    spec, status = mapping(raw, "spec"), mapping(raw, "status")
    modes = spec.get("accessModes")
    return objects.Claim(
        name=str(mapping(raw, "metadata").get("name", "")),
        phase=str(status.get("phase", "Pending")),
        access_modes=tuple(str(mode) for mode in modes) if isinstance(modes, list) else (),
        storage_class=spec.get("storageClassName"),
        requested_bytes=quantity(mapping(spec, "resources", "requests").get("storage")),
        capacity_bytes=quantity(mapping(status, "capacity").get("storage")),
        deleting="deletionTimestamp" in mapping(raw, "metadata"),
        uid=str(mapping(raw, "metadata").get("uid", "")),
        release=str(mapping(raw, "metadata", "annotations").get("meta.helm.sh/release-name", "")),
        volume_mode=str(spec.get("volumeMode") or "Filesystem"),
        volume=str(spec.get("volumeName") or ""),
    )


def event(raw: Any) -> objects.Event:
    """An Event of either API version."""
    series = mapping(raw, "series")
    times = (series.get("lastObservedTime"), raw.get("lastTimestamp"), raw.get("eventTime"), raw.get("firstTimestamp"))
    return objects.Event(
        name=str(mapping(raw, "involvedObject").get("name", "")),
        reason=str(raw.get("reason", "")),
        message=" ".join(str(raw.get("message", "")).split()),
        warning=raw.get("type") == "Warning",
        count=int(series.get("count") or raw.get("count") or 1),
        at=next((str(one) for one in times if one), ""),
        uid=str(mapping(raw, "involvedObject").get("uid", "")),
    )


def items(raw: Any) -> list[dict[str, Any]]:
    """The objects of a list."""
    return dicts(raw, "items")


def pod(raw: Any) -> objects.PodState:
    """A Pod, with the one reason why it is not ready."""
    meta, spec, status = mapping(raw, "metadata"), mapping(raw, "spec"), mapping(raw, "status")
    labels = mapping(meta, "labels")
    containers = dicts(status, "initContainerStatuses") + dicts(status, "containerStatuses")
    reason, message, container = _why_not_ready(raw, containers)
    return objects.PodState(
        name=str(meta.get("name", "")),
        node=str(spec.get("nodeName", "")),
        ip=str(status.get("podIP", "")),
        phase=str(status.get("phase", "Pending")),
        ready=condition(raw, "Ready").get("status") == "True",
        deleting="deletionTimestamp" in meta,
        restarts=max((int(one.get("restartCount", 0)) for one in containers), default=0),
        generation=next((str(labels[key]) for key in _GENERATIONS if key in labels), ""),
        reason=reason,
        message=message,
        container=container,
        image=_image(spec, container),
        mounted=_mounted(raw, containers),
        hash_seed=_hash_seed(dicts(spec, "containers")),
    )


def _image(spec: Any, container: str) -> str:
    """As the pod asks for it."""
    both = dicts(spec, "initContainers") + dicts(spec, "containers")
    return next((str(one.get("image", "")) for one in both if one.get("name") == container), "")


def _mounted(raw: Any, containers: Iterable[dict[str, Any]]) -> bool:
    """The kubelet mounts all volumes before it makes the pod's sandbox or pulls its first image."""
    if condition(raw, "PodReadyToStartContainers").get("status") == "True":
        return True
    states = [mapping(one, "state") for one in containers]
    waits = [str(mapping(one, "waiting").get("reason", "")) for one in states]
    past = any(why not in ("", "ContainerCreating", "PodInitializing") for why in waits)
    return past or any("running" in one or "terminated" in one for one in states)


def _hash_seed(containers: list[dict[str, Any]]) -> str:
    seed = ""
    for one in containers:
        if dicts(one, "envFrom"):
            return "?"
        for variable in dicts(one, "env"):
            if variable.get("name") == "PYTHONHASHSEED":
                seed = str(variable.get("value", "?"))
    return seed if containers else "?"


def _why_not_ready(raw: Any, containers: Iterable[dict[str, Any]]) -> tuple[str, str, str]:
    """The one reason a person would look for: what a container waits for or died of, else the scheduler's."""
    for one in containers:
        state = mapping(one, "state")
        waiting, ended = mapping(state, "waiting"), mapping(state, "terminated")
        last = mapping(one, "lastState", "terminated")
        name = str(one.get("name", ""))
        if waiting and waiting.get("reason") not in (None, "PodInitializing"):
            message = str(waiting.get("message", ""))
            if last:
                died = f"last ended with {last.get('reason', '?')}, exit code {last.get('exitCode', '?')}"
                message = f"{message}; {died}" if message else died
            return str(waiting["reason"]), message, name
        if ended and ended.get("exitCode") not in (0, None):
            said = str(ended.get("message", "")) or f"exit code {ended.get('exitCode')}"
            return str(ended.get("reason", "Error")), said, name
    scheduled = condition(raw, "PodScheduled")
    if scheduled.get("status") == "False":
        return str(scheduled.get("reason", "Unschedulable")), str(scheduled.get("message", "")), ""
    if condition(raw, "Ready").get("status") != "True" and mapping(raw, "status").get("phase") == "Running":
        return "NotReady", "running, but its readiness probe has not succeeded yet", ""
    return "", str(mapping(raw, "status").get("message", "")), ""

# SPDX-License-Identifier: Apache-2.0
"""Raw API objects to facts. Odd input gives an empty fact, never an exception."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kubernetes.utils.quantity import parse_quantity

from llmd_storage_hooks import facts

DEFAULT_CLASS_ANNOTATIONS = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)


def quantity(raw: Any) -> int | None:
    """A Kubernetes quantity in whole units (bytes, devices); None when it is not one."""
    if raw in (None, ""):
        return None
    try:
        return int(parse_quantity(raw))  # type: ignore[no-untyped-call]  # the library has no hints here
    except (ValueError, ArithmeticError):
        return None


def _number(raw: Any) -> int:
    digits = "".join(ch for ch in str(raw) if ch.isdigit())  # "36+" on some distributions
    return int(digits) if digits else 0


def _dict(raw: Any, *path: str) -> dict[str, Any]:
    for key in path:
        raw = raw.get(key) if isinstance(raw, dict) else None
    return raw if isinstance(raw, dict) else {}


def _list(raw: Any, key: str) -> list[dict[str, Any]]:
    items = raw.get(key) if isinstance(raw, dict) else None
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _condition(raw: Any, kind: str) -> dict[str, Any]:
    conditions = _list(_dict(raw, "status"), "conditions")
    return next((one for one in conditions if one.get("type") == kind), {})


def version(raw: Any) -> facts.ClusterVersion:
    return facts.ClusterVersion(
        str(raw.get("gitVersion", "?")), _number(raw.get("major", "")), _number(raw.get("minor", ""))
    )


def group_versions(raw: Any) -> tuple[str, ...]:
    return tuple(str(one.get("version", "")) for one in _list(raw, "versions"))


def resource_names(raw: Any) -> frozenset[str]:
    return frozenset(str(one.get("name", "")) for one in _list(raw, "resources"))


def gateway_class(raw: Any) -> facts.GatewayClass:
    accepted = _condition(raw, "Accepted")
    return facts.GatewayClass(
        name=str(_dict(raw, "metadata").get("name", "")),
        controller=str(_dict(raw, "spec").get("controllerName", "")),
        accepted=accepted.get("status") == "True",
        message=str(accepted.get("message", "")),
    )


def storage_class(raw: Any) -> facts.StorageClass:
    notes = _dict(raw, "metadata", "annotations")
    return facts.StorageClass(
        name=str(_dict(raw, "metadata").get("name", "")),
        provisioner=str(raw.get("provisioner", "")),
        parameters={str(key): str(value) for key, value in _dict(raw, "parameters").items()},
        binding_mode=str(raw.get("volumeBindingMode") or "Immediate"),
        is_default=any(notes.get(note) == "true" for note in DEFAULT_CLASS_ANNOTATIONS),
        allows_expansion=bool(raw.get("allowVolumeExpansion")),
    )


def claim(raw: Any) -> facts.Claim:
    spec, status = _dict(raw, "spec"), _dict(raw, "status")
    modes = spec.get("accessModes")
    return facts.Claim(
        name=str(_dict(raw, "metadata").get("name", "")),
        phase=str(status.get("phase", "Pending")),
        access_modes=tuple(str(mode) for mode in modes) if isinstance(modes, list) else (),
        storage_class=spec.get("storageClassName"),
        requested_bytes=quantity(_dict(spec, "resources", "requests").get("storage")),
        capacity_bytes=quantity(_dict(status, "capacity").get("storage")),
        deleting="deletionTimestamp" in _dict(raw, "metadata"),
    )


def secret_keys(raw: Any) -> facts.SecretKeys:
    data = _dict(raw, "data")
    return facts.SecretKeys(
        name=str(_dict(raw, "metadata").get("name", "")),
        keys=frozenset(data),
        empty_keys=frozenset(key for key, value in data.items() if not value),
    )


def node(raw: Any) -> facts.Node:
    allocatable = {str(key): quantity(value) or 0 for key, value in _dict(raw, "status", "allocatable").items()}
    return facts.Node(
        name=str(_dict(raw, "metadata").get("name", "")),
        ready=_condition(raw, "Ready").get("status") == "True",
        schedulable=not _dict(raw, "spec").get("unschedulable", False),
        allocatable=allocatable,
    )


def items(raw: Any) -> list[dict[str, Any]]:
    return _list(raw, "items")


def pod(raw: Any) -> facts.PodState:
    meta, spec, status = _dict(raw, "metadata"), _dict(raw, "spec"), _dict(raw, "status")
    containers = _list(status, "initContainerStatuses") + _list(status, "containerStatuses")
    reason, message, container = _why_not_ready(raw, containers)
    return facts.PodState(
        name=str(meta.get("name", "")),
        node=str(spec.get("nodeName", "")),
        ip=str(status.get("podIP", "")),
        phase=str(status.get("phase", "Pending")),
        ready=_condition(raw, "Ready").get("status") == "True",
        deleting="deletionTimestamp" in meta,
        restarts=max((int(one.get("restartCount", 0)) for one in containers), default=0),
        generation=str(_dict(meta, "labels").get("pod-template-hash", "")),
        reason=reason,
        message=message,
        container=container,
    )


def _why_not_ready(raw: Any, containers: Iterable[dict[str, Any]]) -> tuple[str, str, str]:
    """The one reason a person would look for: what a container waits for or died of, else the scheduler's."""
    for one in containers:
        state = _dict(one, "state")
        waiting, ended = _dict(state, "waiting"), _dict(state, "terminated")
        last = _dict(one, "lastState", "terminated")
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
    scheduled = _condition(raw, "PodScheduled")
    if scheduled.get("status") == "False":
        return str(scheduled.get("reason", "Unschedulable")), str(scheduled.get("message", "")), ""
    if _condition(raw, "Ready").get("status") != "True" and _dict(raw, "status").get("phase") == "Running":
        return "NotReady", "running, but its readiness probe has not succeeded yet", ""
    return "", str(_dict(raw, "status").get("message", "")), ""

# SPDX-License-Identifier: Apache-2.0
"""Raw API objects to facts. Odd input gives an empty fact, never an exception."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kubernetes.utils.quantity import parse_quantity

from llmd_storage_hooks import facts
from llmd_storage_hooks.config import Workload

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


def gateway(raw: Any, section: str = "") -> facts.Gateway:
    """`section` names a listener; without it the first that takes HTTP is meant, or else HTTPS."""
    programmed = _condition(raw, "Programmed")
    listeners = [one for one in _list(_dict(raw, "spec"), "listeners") if section in ("", one.get("name"))]
    by_protocol = {str(one.get("protocol", "")): one for one in reversed(listeners)}
    chosen = by_protocol.get("HTTP") or by_protocol.get("HTTPS")
    addresses = [str(one.get("value", "")) for one in _list(_dict(raw, "status"), "addresses")]
    url = ""
    if chosen and addresses:
        host = f"[{addresses[0]}]" if ":" in addresses[0] else addresses[0]
        url = f"{str(chosen['protocol']).lower()}://{host}:{chosen.get('port')}"
    return facts.Gateway(programmed.get("status") == "True", str(programmed.get("message", "")), url)


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
        uid=str(_dict(raw, "metadata").get("uid", "")),
        release=str(_dict(raw, "metadata", "annotations").get("meta.helm.sh/release-name", "")),
    )


def secret_keys(raw: Any) -> facts.SecretKeys:
    data = _dict(raw, "data")
    return facts.SecretKeys(
        name=str(_dict(raw, "metadata").get("name", "")),
        keys=frozenset(data),
        empty_keys=frozenset(key for key, value in data.items() if not value),
    )


def node(raw: Any) -> facts.Node:
    taints = [
        facts.Taint(str(one.get("key", "")), str(one.get("value", "")), str(one.get("effect", "")))
        for one in _list(_dict(raw, "spec"), "taints")
    ]
    return facts.Node(
        name=str(_dict(raw, "metadata").get("name", "")),
        ready=_condition(raw, "Ready").get("status") == "True",
        schedulable=not _dict(raw, "spec").get("unschedulable", False),
        allocatable=amounts(_dict(raw, "status", "allocatable")),
        labels={str(key): str(value) for key, value in _dict(raw, "metadata", "labels").items()},
        taints=tuple(one for one in taints if one.effect in ("NoSchedule", "NoExecute")),
    )


def amounts(raw: Mapping[str, Any]) -> dict[str, int]:
    """Quantities by resource name: CPU in thousandths of a core, all else in whole units. Odd ones count as 0."""
    return {str(key): (milli(value) if key.endswith("cpu") else quantity(value)) or 0 for key, value in raw.items()}


def demand(workload: Workload) -> facts.Demand:
    return facts.Demand(
        workload.replicas,
        amounts({**workload.limits, **workload.requests}),
        amounts(workload.limits),
        quantity(workload.shm_size),
        quantity(workload.cpu_tier_size),
    )


def milli(raw: Any) -> int | None:
    """A quantity in thousandths; None when it is not one."""
    try:
        return int(parse_quantity(raw) * 1000)  # type: ignore[no-untyped-call]  # the library has no hints here
    except (ValueError, ArithmeticError):
        return None


def quota(raw: Any) -> facts.Quota | None:
    """None for one with scopes: it counts some pods only, and which is for the API server to say."""
    spec = _dict(raw, "spec")
    if spec.get("scopes") or spec.get("scopeSelector"):
        return None
    status = _dict(raw, "status")
    name = str(_dict(raw, "metadata").get("name", ""))
    return facts.Quota(name, amounts(_dict(spec, "hard")), amounts(_dict(status, "used")))


def limits(raw: Any) -> list[facts.Limit]:
    name = str(_dict(raw, "metadata").get("name", ""))
    return [
        facts.Limit(
            name,
            str(one.get("type", "")),
            amounts(_dict(one, "min")),
            amounts(_dict(one, "max")),
            amounts(_dict(one, "default")),
        )
        for one in _list(_dict(raw, "spec"), "limits")
    ]


def namespace(raw: Any) -> facts.Namespace:
    meta = _dict(raw, "metadata")
    labels = {str(key): str(value) for key, value in _dict(meta, "labels").items()}
    return facts.Namespace(str(meta.get("name", "")), labels)


def completion_index(raw: Any) -> str:
    """Which of an Indexed Job's pods this is; "" for none."""
    return str(_dict(raw, "metadata", "labels").get("batch.kubernetes.io/job-completion-index", ""))


def uses_claim(raw: Any, claim: str) -> bool:
    """Whether a pod that still lives mounts the claim."""
    if _dict(raw, "status").get("phase") in ("Succeeded", "Failed"):
        return False
    volumes = _list(_dict(raw, "spec"), "volumes")
    return any(_dict(one, "persistentVolumeClaim").get("claimName") == claim for one in volumes)


def event(raw: Any) -> facts.Event:
    series = _dict(raw, "series")
    times = (series.get("lastObservedTime"), raw.get("lastTimestamp"), raw.get("eventTime"), raw.get("firstTimestamp"))
    return facts.Event(
        name=str(_dict(raw, "involvedObject").get("name", "")),
        reason=str(raw.get("reason", "")),
        message=" ".join(str(raw.get("message", "")).split()),
        warning=raw.get("type") == "Warning",
        count=int(series.get("count") or raw.get("count") or 1),
        at=next((str(one) for one in times if one), ""),
        uid=str(_dict(raw, "involvedObject").get("uid", "")),
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
        mounted=_mounted(raw, containers),
        hash_seed=_hash_seed(_list(spec, "containers")),
    )


def _mounted(raw: Any, containers: Iterable[dict[str, Any]]) -> bool:
    """The kubelet mounts all volumes before it makes the pod's sandbox or pulls its first image."""
    if _condition(raw, "PodReadyToStartContainers").get("status") == "True":
        return True
    states = [_dict(one, "state") for one in containers]
    waits = [str(_dict(one, "waiting").get("reason", "")) for one in states]
    past = any(why not in ("", "ContainerCreating", "PodInitializing") for why in waits)
    return past or any("running" in one or "terminated" in one for one in states)


def _hash_seed(containers: list[dict[str, Any]]) -> str:
    seen = ""
    for one in containers:
        if _list(one, "envFrom"):
            return "?"
        for variable in _list(one, "env"):
            if variable.get("name") == "PYTHONHASHSEED":
                seen = str(variable.get("value", "?"))
    return seen if containers else "?"


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

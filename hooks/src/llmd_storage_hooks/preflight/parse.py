# SPDX-License-Identifier: Apache-2.0
"""JSON of the Kubernetes API to the preflight's facts. Odd input gives an empty fact, never an exception."""

from __future__ import annotations

from typing import Any

from llmd_storage_hooks.core.kube.parse import condition, dicts, mapping
from llmd_storage_hooks.core.kube.quantities import amounts, quantity
from llmd_storage_hooks.preflight import facts
from llmd_storage_hooks.preflight.config import Workload

DEFAULT_CLASS_ANNOTATIONS = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)


def _number(raw: Any) -> int:
    digits = "".join(ch for ch in str(raw) if ch.isdigit())  # "36+" on some distributions
    return int(digits) if digits else 0


def version(raw: Any) -> facts.ClusterVersion:
    """The answer of /version."""
    return facts.ClusterVersion(
        str(raw.get("gitVersion", "?")), _number(raw.get("major", "")), _number(raw.get("minor", ""))
    )


def group_versions(raw: Any) -> tuple[str, ...]:
    """The versions of an API group, from discovery."""
    return tuple(str(one.get("version", "")) for one in dicts(raw, "versions"))


def resource_names(raw: Any) -> frozenset[str]:
    """The resources of a group's version, from discovery."""
    return frozenset(str(one.get("name", "")) for one in dicts(raw, "resources"))


def gateway_class(raw: Any) -> facts.GatewayClass:
    """A GatewayClass."""
    accepted = condition(raw, "Accepted")
    return facts.GatewayClass(
        name=str(mapping(raw, "metadata").get("name", "")),
        controller=str(mapping(raw, "spec").get("controllerName", "")),
        accepted=accepted.get("status") == "True",
        message=str(accepted.get("message", "")),
    )


def storage_class(raw: Any) -> facts.StorageClass:
    """A StorageClass."""
    notes = mapping(raw, "metadata", "annotations")
    return facts.StorageClass(
        name=str(mapping(raw, "metadata").get("name", "")),
        provisioner=str(raw.get("provisioner", "")),
        parameters={str(key): str(value) for key, value in mapping(raw, "parameters").items()},
        binding_mode=str(raw.get("volumeBindingMode") or "Immediate"),
        is_default=any(notes.get(note) == "true" for note in DEFAULT_CLASS_ANNOTATIONS),
        allows_expansion=bool(raw.get("allowVolumeExpansion")),
        created=str(mapping(raw, "metadata").get("creationTimestamp", "")),
    )


def volume(raw: Any) -> facts.StorageClass:
    """A PersistentVolume as a class that would have made it: its driver and attributes. Without CSI, by its kind."""
    spec = mapping(raw, "spec")
    csi = mapping(spec, "csi")
    if csi:
        provisioner = str(csi.get("driver", ""))
    elif "nfs" in spec:
        provisioner = "nfs.csi.k8s.io"
    elif "local" in spec or "hostPath" in spec:
        provisioner = "kubernetes.io/no-provisioner"
    else:
        notes = mapping(raw, "metadata", "annotations")
        provisioner = str(notes.get("pv.kubernetes.io/provisioned-by", "not known"))
    attributes = {str(key): str(value) for key, value in mapping(csi, "volumeAttributes").items()}
    return facts.StorageClass(str(mapping(raw, "metadata").get("name", "")), provisioner, attributes)


def secret_keys(raw: Any) -> facts.SecretKeys:
    """A Secret's keys, without the values."""
    data = mapping(raw, "data")
    return facts.SecretKeys(
        name=str(mapping(raw, "metadata").get("name", "")),
        keys=frozenset(data),
        empty_keys=frozenset(key for key, value in data.items() if not value),
    )


def devices(raw: Any) -> facts.Devices:
    """A ResourceClaim or a ResourceClaimTemplate."""
    spec = mapping(raw, "spec")
    requests = dicts(mapping(mapping(spec, "spec") or spec, "devices"), "requests")
    exact = [mapping(one, "exactly") for one in requests]
    counted = all(one and one.get("allocationMode", "ExactCount") == "ExactCount" for one in exact)
    return facts.Devices(sum(_number(one.get("count", 1)) for one in exact) if counted else None)


def node(raw: Any) -> facts.Node:
    """A Node."""
    taints = [
        facts.Taint(str(one.get("key", "")), str(one.get("value", "")), str(one.get("effect", "")))
        for one in dicts(mapping(raw, "spec"), "taints")
    ]
    return facts.Node(
        name=str(mapping(raw, "metadata").get("name", "")),
        ready=condition(raw, "Ready").get("status") == "True",
        schedulable=not mapping(raw, "spec").get("unschedulable", False),
        allocatable=amounts(mapping(raw, "status", "allocatable")),
        labels={str(key): str(value) for key, value in mapping(raw, "metadata", "labels").items()},
        taints=tuple(one for one in taints if one.effect in ("NoSchedule", "NoExecute")),
    )


def resource_requests(workload: Workload) -> facts.ResourceRequests:
    """The configured quantities as numbers."""
    return facts.ResourceRequests(
        workload.replicas,
        amounts({**workload.limits, **workload.requests}),
        amounts(workload.limits),
        quantity(workload.shm_size),
        quantity(workload.cpu_tier_size),
        workload.priority_class,
        workload.groups,
    )


def quota(raw: Any) -> facts.Quota:
    """A ResourceQuota."""
    spec, status = mapping(raw, "spec"), mapping(raw, "status")
    names = spec.get("scopes")
    scopes = [facts.Scope(str(one)) for one in names] if isinstance(names, list) else []
    scopes += [_scope(one) for one in dicts(mapping(spec, "scopeSelector"), "matchExpressions")]
    name = str(mapping(raw, "metadata").get("name", ""))
    return facts.Quota(name, amounts(mapping(spec, "hard")), amounts(mapping(status, "used")), tuple(scopes))


def _scope(raw: dict[str, Any]) -> facts.Scope:
    values = raw.get("values")
    return facts.Scope(
        str(raw.get("scopeName", "")),
        str(raw.get("operator", "Exists")),
        tuple(str(one) for one in values) if isinstance(values, list) else (),
    )


def limits(raw: Any) -> list[facts.Limit]:
    """The items of a LimitRange."""
    name = str(mapping(raw, "metadata").get("name", ""))
    return [
        facts.Limit(
            name,
            str(one.get("type", "")),
            amounts(mapping(one, "min")),
            amounts(mapping(one, "max")),
            amounts(mapping(one, "default")),
            amounts(mapping(one, "defaultRequest")),
        )
        for one in dicts(mapping(raw, "spec"), "limits")
    ]


def namespace(raw: Any) -> facts.Namespace:
    """A Namespace."""
    meta = mapping(raw, "metadata")
    labels = {str(key): str(value) for key, value in mapping(meta, "labels").items()}
    return facts.Namespace(str(meta.get("name", "")), labels)


def uses_claim(raw: Any, claim: str) -> bool:
    """Whether a pod that still lives mounts the claim."""
    if mapping(raw, "status").get("phase") in ("Succeeded", "Failed"):
        return False
    volumes = dicts(mapping(raw, "spec"), "volumes")
    return any(mapping(one, "persistentVolumeClaim").get("claimName") == claim for one in volumes)

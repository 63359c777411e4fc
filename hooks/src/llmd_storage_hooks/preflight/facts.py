# SPDX-License-Identifier: Apache-2.0
"""What the preflight read of the cluster. What could not be read is `Unknown`."""

from __future__ import annotations

from dataclasses import dataclass, field

from llmd_storage_hooks.core.kube.objects import Absent, Claim, Unknown


@dataclass(frozen=True, slots=True)
class ClusterVersion:
    """Of the API server."""

    git_version: str
    major: int
    minor: int


@dataclass(frozen=True, slots=True)
class ServedGroup:
    """An API group as discovery shows it: its versions, and the resources of the asked version."""

    versions: tuple[str, ...]
    resources: frozenset[str]


@dataclass(frozen=True, slots=True)
class GatewayClass:
    """accepted: by a controller; message: of its condition."""

    name: str
    controller: str
    accepted: bool
    message: str


@dataclass(frozen=True, slots=True)
class StorageClass:
    """A class that exists, or that the chart makes."""

    name: str
    provisioner: str
    parameters: dict[str, str] = field(default_factory=dict)
    binding_mode: str = "Immediate"
    is_default: bool = False
    allows_expansion: bool = False
    created: str = ""  # RFC 3339 in UTC: sorts by time


@dataclass(frozen=True, slots=True)
class SecretKeys:
    """Names only: the values never leave the parser."""

    name: str
    keys: frozenset[str]
    empty_keys: frozenset[str]


@dataclass(frozen=True, slots=True)
class Devices:
    """What a ResourceClaim, or a template, asks for."""

    count: int | None  # None: as many as there are, or one of several


@dataclass(frozen=True, slots=True)
class Taint:
    """Of a node."""

    key: str
    value: str
    effect: str

    def __str__(self) -> str:
        return f"{self.key}{'=' + self.value if self.value else ''}:{self.effect}"


@dataclass(frozen=True, slots=True)
class Scope:
    """Which pods a ResourceQuota counts: all of its scopes must hold."""

    name: str  # BestEffort, NotTerminating, PriorityClass, ...
    operator: str = "Exists"
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Quota:
    """A ResourceQuota; amounts as in Node. scopes: none = it counts every pod."""

    name: str
    hard: dict[str, int]
    used: dict[str, int]
    scopes: tuple[Scope, ...] = ()


@dataclass(frozen=True, slots=True)
class Limit:
    """One item of a LimitRange; amounts as in Node. default: the limit of a container that has none."""

    name: str
    kind: str  # Container, Pod, PersistentVolumeClaim
    min: dict[str, int]
    max: dict[str, int]
    default: dict[str, int]
    default_request: dict[str, int] = field(default_factory=dict)  # the request of one that has none


@dataclass(frozen=True, slots=True)
class ResourceRequests:
    """What one model server's pod asks for; amounts as in Node. A limit alone is the request as well."""

    replicas: int
    requests: dict[str, int]
    limits: dict[str, int]
    shm_bytes: int | None
    cpu_tier_bytes: int | None
    priority_class: str = ""
    groups: int = 0  # of a LeaderWorkerSet; 0 = a Deployment


@dataclass(frozen=True, slots=True)
class Namespace:
    """The release's namespace."""

    name: str
    labels: dict[str, str]


@dataclass(frozen=True, slots=True)
class Node:
    """A node's state and allocatable resources."""

    name: str
    ready: bool
    schedulable: bool
    allocatable: dict[str, int]  # bytes, devices; CPU in thousandths
    labels: dict[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()  # those that keep pods out


@dataclass(frozen=True, slots=True)
class PreflightFacts:
    """Everything that was read. None: it was not asked for."""

    version: ClusterVersion | Unknown
    crds: dict[str, ServedGroup | Absent | Unknown]  # by "plural.group/version"
    gateway_class: GatewayClass | Absent | Unknown | None
    classes: tuple[StorageClass, ...] | Unknown
    claim: Claim | Absent | Unknown | None  # the existing claim, or the one that the chart would make
    secrets: dict[str, SecretKeys | Absent | Unknown]
    nodes: tuple[Node, ...] | Unknown
    quotas: tuple[Quota, ...] | Unknown = ()
    limits: tuple[Limit, ...] | Unknown = ()
    namespace: Namespace | Absent | Unknown | None = None
    claim_users: tuple[str, ...] | Unknown = ()  # names of the pods that use the claim now
    model_claim: Claim | Absent | Unknown | None = None  # the claim that the model is read from
    device_claims: dict[str, Devices | Absent | Unknown] = field(default_factory=dict)  # by "resource/name"
    volume: StorageClass | Absent | Unknown | None = None  # of the user's claim: driver and attributes

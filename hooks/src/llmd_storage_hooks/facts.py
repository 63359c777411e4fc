# SPDX-License-Identifier: Apache-2.0
"""What was observed. `Unknown` is a fact too: what could not be read is said, never guessed."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Absent:
    """The API server says that the object does not exist."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """The object could not be read, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class ClusterVersion:
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
    name: str
    controller: str
    accepted: bool
    message: str


@dataclass(frozen=True, slots=True)
class StorageClass:
    name: str
    provisioner: str
    parameters: dict[str, str] = field(default_factory=dict)
    binding_mode: str = "Immediate"
    is_default: bool = False
    allows_expansion: bool = False


@dataclass(frozen=True, slots=True)
class Claim:
    name: str
    phase: str
    access_modes: tuple[str, ...]
    storage_class: str | None
    requested_bytes: int | None
    capacity_bytes: int | None
    deleting: bool = False


@dataclass(frozen=True, slots=True)
class SecretKeys:
    """Names only: the values never leave the parser."""

    name: str
    keys: frozenset[str]
    empty_keys: frozenset[str]


@dataclass(frozen=True, slots=True)
class Node:
    name: str
    ready: bool
    schedulable: bool
    allocatable: dict[str, int]


@dataclass(frozen=True, slots=True)
class PreflightFacts:
    version: ClusterVersion | Unknown
    crds: dict[str, ServedGroup | Absent | Unknown]  # by "plural.group/version"
    gateway_class: GatewayClass | Absent | Unknown | None
    classes: tuple[StorageClass, ...] | Unknown
    claim: Claim | Absent | Unknown | None  # the existing claim, or the one that the chart would make
    secrets: dict[str, SecretKeys | Absent | Unknown]
    nodes: tuple[Node, ...] | Unknown


@dataclass(frozen=True, slots=True)
class PodState:
    """One model-server pod as the API shows it."""

    name: str
    node: str
    ip: str
    phase: str
    ready: bool
    deleting: bool
    restarts: int
    generation: str  # pod-template-hash: two of them at once = a rollout is under way
    reason: str  # why it is not ready: Unschedulable, ImagePullBackOff, OOMKilled, ...
    message: str
    container: str  # the container that the reason is about; "" = the pod itself

# SPDX-License-Identifier: Apache-2.0
"""Objects of the Kubernetes API that more than one hook reads. What could not be read is `Unknown`, never guessed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Absent:
    """The API server says that the object does not exist."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """The object could not be read, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class NotYet:
    """What is waited for may still come; why it is not there, in the cluster's own words where there are any."""

    why: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A PersistentVolumeClaim. Sizes in bytes; None where the API server gives none."""

    name: str
    phase: str
    access_modes: tuple[str, ...]
    storage_class: str | None
    requested_bytes: int | None
    capacity_bytes: int | None
    deleting: bool = False
    uid: str = ""
    release: str = ""  # the Helm release that made it; "" = none, or not annotated
    volume_mode: str = "Filesystem"  # or Block: a raw device
    volume: str = ""  # the PersistentVolume that it is bound to


@dataclass(frozen=True, slots=True)
class Event:
    """An Event: what a component of the cluster reports about an object."""

    name: str  # the object's
    reason: str
    message: str
    warning: bool
    count: int
    at: str  # the last time, RFC 3339 in UTC: sorts by time
    uid: str = ""  # the object's: one of the same name may have been there before


@dataclass(frozen=True, slots=True)
class PodState:
    """A pod as the API server shows it."""

    name: str
    node: str
    ip: str
    phase: str
    ready: bool
    deleting: bool
    restarts: int
    generation: str  # the hash of its template: two of them at once = a rollout is under way
    reason: str  # why it is not ready: Unschedulable, ImagePullBackOff, OOMKilled, ...
    message: str
    container: str  # the container that the reason is about; "" = the pod itself
    image: str = ""  # that container's
    mounted: bool = False  # its volumes are mounted: a container has started, or at least its image is being pulled
    hash_seed: str = "?"  # PYTHONHASHSEED of its containers; "" = set nowhere, "?" = cannot be read from the spec

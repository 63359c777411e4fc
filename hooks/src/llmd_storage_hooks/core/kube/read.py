# SPDX-License-Identifier: Apache-2.0
"""Pods and events of a namespace. A read that fails becomes `Unknown`."""

from __future__ import annotations

from llmd_storage_hooks.core.errors import CollectError
from llmd_storage_hooks.core.kube import parse
from llmd_storage_hooks.core.kube.api import KubeApi
from llmd_storage_hooks.core.kube.objects import Event, PodState, Unknown


def pods(kube: KubeApi, namespace: str, labels: dict[str, str]) -> tuple[PodState, ...] | Unknown:
    """The pods with these labels; none when there are no labels."""
    if not labels:
        return ()
    selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    try:
        raw = kube.get(f"/api/v1/namespaces/{namespace}/pods", {"labelSelector": selector})
    except CollectError as error:
        return Unknown(str(error))
    return tuple(parse.pod(one) for one in parse.items(raw))


def events(kube: KubeApi, namespace: str, claim: str = "") -> tuple[Event, ...] | Unknown:
    """Events of the namespace's pods, and of one claim; oldest first."""
    wanted = ["involvedObject.kind=Pod"]
    if claim:
        wanted.append(f"involvedObject.kind=PersistentVolumeClaim,involvedObject.name={claim}")
    found: list[Event] = []
    for selector in wanted:
        try:
            raw = kube.get(f"/api/v1/namespaces/{namespace}/events", {"fieldSelector": selector})
        except CollectError as error:
            return Unknown(str(error))
        found += [parse.event(one) for one in parse.items(raw)]
    return tuple(sorted(found, key=lambda one: one.at))

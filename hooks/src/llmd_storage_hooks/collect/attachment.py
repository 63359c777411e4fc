# SPDX-License-Identifier: Apache-2.0
"""A claim and the pods that are to mount it, with the cluster's own words about both."""

from __future__ import annotations

from llmd_storage_hooks import facts, parse
from llmd_storage_hooks.core.errors import CollectError, NotFound
from llmd_storage_hooks.core.kube.api import KubeApi


def claim_state(kube: KubeApi, namespace: str, claim: str, selector: dict[str, str]) -> facts.ClaimState:
    """Each read that fails becomes `Unknown`; the others go on. Raises: nothing."""
    return facts.ClaimState(
        _claim(kube, namespace, claim), pods(kube, namespace, selector), events(kube, namespace, claim)
    )


def pods(kube: KubeApi, namespace: str, labels: dict[str, str]) -> tuple[facts.PodState, ...] | facts.Unknown:
    """The pods with these labels; none when there are no labels."""
    if not labels:
        return ()
    selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    try:
        raw = kube.get(f"/api/v1/namespaces/{namespace}/pods", {"labelSelector": selector})
    except CollectError as error:
        return facts.Unknown(str(error))
    return tuple(parse.pod(one) for one in parse.items(raw))


def events(kube: KubeApi, namespace: str, claim: str = "") -> tuple[facts.Event, ...] | facts.Unknown:
    """Events of the namespace's pods, and of one claim; oldest first."""
    wanted = ["involvedObject.kind=Pod"]
    if claim:
        wanted.append(f"involvedObject.kind=PersistentVolumeClaim,involvedObject.name={claim}")
    found: list[facts.Event] = []
    for selector in wanted:
        try:
            raw = kube.get(f"/api/v1/namespaces/{namespace}/events", {"fieldSelector": selector})
        except CollectError as error:
            return facts.Unknown(str(error))
        found += [parse.event(one) for one in parse.items(raw)]
    return tuple(sorted(found, key=lambda one: one.at))


def _claim(kube: KubeApi, namespace: str, name: str) -> facts.Claim | facts.Absent | facts.Unknown:
    try:
        return parse.claim(kube.get(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}"))
    except NotFound:
        return facts.Absent()
    except CollectError as error:
        return facts.Unknown(str(error))

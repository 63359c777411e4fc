# SPDX-License-Identifier: Apache-2.0
"""Read the claim, the pods that mount it, and the events about both."""

from __future__ import annotations

from llmd_storage_hooks.claim.facts import ClaimState
from llmd_storage_hooks.core.errors import CollectError, NotFound
from llmd_storage_hooks.core.kube import parse
from llmd_storage_hooks.core.kube.api import KubeApi
from llmd_storage_hooks.core.kube.objects import Absent, Claim, Unknown
from llmd_storage_hooks.core.kube.read import events, pods


def claim_state(kube: KubeApi, namespace: str, claim: str, selector: dict[str, str]) -> ClaimState:
    """selector: labels of the pods. A read that fails becomes `Unknown`; the others go on. Raises: nothing."""
    return ClaimState(_claim(kube, namespace, claim), pods(kube, namespace, selector), events(kube, namespace, claim))


def _claim(kube: KubeApi, namespace: str, name: str) -> Claim | Absent | Unknown:
    try:
        return parse.claim(kube.get(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}"))
    except NotFound:
        return Absent()
    except CollectError as error:
        return Unknown(str(error))

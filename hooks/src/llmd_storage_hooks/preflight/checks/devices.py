# SPDX-License-Identifier: Apache-2.0
"""Preflight, devices: the ResourceClaims, or their templates, that give the model servers accelerators."""

from __future__ import annotations

from llmd_storage_hooks.core.kube.objects import Absent, Unknown
from llmd_storage_hooks.core.verdicts import Finding, Verdict
from llmd_storage_hooks.preflight.config import Accelerator, DeviceClaim
from llmd_storage_hooks.preflight.facts import Devices

_ID = "preflight.accelerator.claims"
_FIX = "modelserver.accelerator.resourceClaims"
_KINDS = {"resourceclaims": "ResourceClaim", "resourceclaimtemplates": "ResourceClaimTemplate"}


def check(wanted: Accelerator, observed: dict[str, Devices | Absent | Unknown]) -> list[Finding]:
    """Nothing where accelerators are asked for otherwise. Whether the nodes have such devices their driver knows."""
    if not wanted.claims:
        return []
    for one in wanted.claims:
        found = observed[one.key]
        if isinstance(found, Unknown):
            return [_unread(one, found)]
        if isinstance(found, Absent):
            return [_absent(one)]
    return [_enough(wanted, [one for one in observed.values() if isinstance(one, Devices)])]


def _unread(one: DeviceClaim, why: Unknown) -> Finding:
    kind = _KINDS.get(one.resource, one.resource)
    fix = f"Look yourself: kubectl get {one.resource} {one.name}."
    return Finding(_ID, Verdict.WARN, f'Could not check {kind} "{one.name}": {why.reason}.', fix)


def _absent(one: DeviceClaim) -> Finding:
    kind = _KINDS.get(one.resource, one.resource)
    sentence = f'{_FIX} names {kind} "{one.name}", but there is none in this namespace: no pod would ever start.'
    fix = f"Create it here (resource.k8s.io/v1), or set {_FIX} to what `kubectl get {one.resource}` lists."
    return Finding(_ID, Verdict.FAIL, sentence, fix)


def _enough(wanted: Accelerator, found: list[Devices]) -> Finding:
    counts = [one.count for one in found]
    known = [count for count in counts if count is not None]
    if len(known) < len(counts):
        return Finding(_ID, Verdict.PASS, "The claims of accelerators are there; how many they give is not fixed.")
    observed = {"devices": sum(known), "accelerators": wanted.per_pod}
    if sum(known) < wanted.per_pod:  # more may be network cards
        sentence = (
            f"The claims of one model server ask for {sum(known)} device(s), but vLLM takes {wanted.per_pod} "
            "accelerators and would end at its start."
        )
        fix = (
            "Raise count in the template's requests, or lower modelserver.tensorParallelSize and the parallel sizes in "
            "modelserver.extraArgs."
        )
        return Finding(_ID, Verdict.WARN, sentence, fix, observed=observed)
    said = f"The claims of accelerators are there; each model server gets {sum(known)} device(s)."
    return Finding(_ID, Verdict.PASS, said, observed=observed)

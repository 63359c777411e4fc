# SPDX-License-Identifier: Apache-2.0
"""Claim: is it bound and mounted, not yet, or never? With the reason in the cluster's own words."""

from __future__ import annotations

import re

from llmd_storage_hooks.claim.facts import ClaimState
from llmd_storage_hooks.core.kube.objects import Absent, Claim, Event, NotYet, PodState, Unknown
from llmd_storage_hooks.core.kube.volume_errors import last_warning, remedy_for
from llmd_storage_hooks.core.verdicts import Finding, Verdict

BOUND, MOUNTED = "claim.bound", "claim.mounted"
FIRST_ERROR_GRACE_S = 30.0  # an error must last that long; the first one may be transient
NO_POD_GRACE_S = 15.0  # how long to wait for a first pod that may never come
RWX_MODE = "ReadWriteMany"
_CLAIMS = "https://kubernetes.io/docs/concepts/storage/persistent-volumes/#binding"
_MODES = "https://kubernetes.io/docs/concepts/storage/storage-classes/#volume-binding-mode"

# gRPC codes of a CSI driver that trying again does not heal: something must be set.
_FINAL = re.compile(r"code = (InvalidArgument|Unauthenticated|PermissionDenied|Unimplemented|OutOfRange)\b")
_FIRST_USE = ("WaitForFirstConsumer", "WaitForPodScheduled")
_ABOUT_STORAGE = re.compile(r"volume|persistentvolume", re.IGNORECASE)


def check(state: ClaimState, waited_s: float, bound_for_s: float, mount_s: float) -> NotYet | list[Finding]:
    """Findings as soon as the claim is usable or cannot become so; else NotYet.

    waited_s: since the start; bound_for_s: since the claim was first read as bound; mount_s: what pods are given to
    mount a bound claim.
    """
    claim = state.claim
    if isinstance(claim, Unknown):
        return (
            _unknown(claim)
            if waited_s >= FIRST_ERROR_GRACE_S
            else NotYet(f"the claim could not be read: {claim.reason}")
        )
    if isinstance(claim, Absent):
        return NotYet("the claim does not exist yet")
    if claim.deleting or claim.phase == "Lost":
        what = "is being deleted" if claim.deleting else "has lost its volume (phase Lost)"
        remedy = f"Make a new claim when this one is gone: kubectl get pvc {claim.name}."
        return [_bad(BOUND, claim, f"{what}.", remedy)]
    if claim.phase != "Bound":
        return _pending(claim, state, waited_s)
    if RWX_MODE not in claim.access_modes:
        has = ", ".join(claim.access_modes) or "none"
        what = f"is bound with access modes {has}, not {RWX_MODE}: pods on two nodes could not share it."
        return [_bad(BOUND, claim, what, f"Make a claim with accessModes [{RWX_MODE}]; they cannot be changed later.")]
    bound = Finding(BOUND, Verdict.PASS, f'Claim "{claim.name}" is bound.', observed={"phase": claim.phase})
    mounted = _mounted(state, bound_for_s, mount_s)
    return mounted if isinstance(mounted, NotYet) else [bound, mounted]


def timed_out(state: ClaimState, last: NotYet, waited_s: float) -> list[Finding]:
    """The finding when the time is up and it is still NotYet."""
    name = state.claim.name if isinstance(state.claim, Claim) else ""
    subject = f'Claim "{name}"' if name else "The claim"
    remedy = remedy_for(last.why) or (
        "See that the provisioner runs (its controller's log), and kubectl describe pvc. If it only takes longer here, "
        "raise hooks.claim.timeoutSeconds."
    )
    sentence = f"{subject} was not usable after {waited_s:.0f} s: {last.why}"
    return [Finding(BOUND, Verdict.FAIL, _dot(sentence), remedy, _CLAIMS, {"why": last.why})]


def _pending(claim: Claim, state: ClaimState, waited_s: float) -> NotYet | list[Finding]:
    events = () if isinstance(state.events, Unknown) else state.events
    about_claim = [one for one in events if (one.name, one.uid) == (claim.name, claim.uid)]
    pods = () if isinstance(state.pods, Unknown) else tuple(pod for pod in state.pods if not pod.deleting)
    latest = about_claim[-1] if about_claim else None
    if latest is None:
        note = f" (its events cannot be read: {state.events.reason})" if isinstance(state.events, Unknown) else ""
        return NotYet(f"the claim is Pending, and no event says why{note}")
    if latest.reason in _FIRST_USE:
        return _first_use(claim, pods, waited_s)
    warnings = [one for one in about_claim if one.warning or one.reason == "FailedBinding"]
    if not warnings:
        return NotYet(f"{latest.reason}: {latest.message}")
    worst = warnings[-1]
    final = bool(_FINAL.search(worst.message)) or worst.reason == "FailedBinding"
    if final and waited_s >= FIRST_ERROR_GRACE_S:
        return [_bad(BOUND, claim, _dot(f"cannot be bound: {_in_words(worst)}"), remedy_for(worst.message), worst)]
    return NotYet(_in_words(worst))


def _first_use(claim: Claim, pods: tuple[PodState, ...], waited_s: float) -> NotYet | list[Finding]:
    """The class binds on first use (WaitForFirstConsumer): the pods say why there is none yet."""
    unscheduled = next((pod for pod in pods if not pod.node), None)
    because = (
        f" {unscheduled.name} is not scheduled ({_cut(unscheduled.message or unscheduled.reason)})"
        if unscheduled
        else ""
    )
    why = f"the claim is bound when its first pod is scheduled;{because or ' there is none yet'}"
    if waited_s < NO_POD_GRACE_S or (unscheduled is not None and _ABOUT_STORAGE.search(unscheduled.message)):
        return NotYet(why)
    if any(pod.node for pod in pods):
        return NotYet("the claim's first pod has a node; the volume is being made")
    # Not the claim's fault. The probe asks for no accelerator, so its pods can be the first users.
    return [Finding(BOUND, Verdict.SKIPPED, _dot(f'Claim "{claim.name}" was not waited for: {why}'), "", _MODES)]


def _mounted(state: ClaimState, bound_for_s: float, mount_s: float) -> NotYet | Finding:
    if isinstance(state.pods, Unknown):
        sentence = f"Could not check whether pods mount the claim: {state.pods.reason}."
        return Finding(MOUNTED, Verdict.WARN, sentence, "The hook's ServiceAccount needs list on pods and events.")
    scheduled = [pod for pod in state.pods if pod.node and not pod.deleting]
    if not scheduled:
        if bound_for_s < NO_POD_GRACE_S:
            return NotYet("the claim is bound; no pod that mounts it has a node yet")
        sentence = "No pod that mounts the claim has a node yet; the probe finds out whether it can be mounted."
        return Finding(MOUNTED, Verdict.SKIPPED, sentence)
    unmounted = next((pod for pod in scheduled if not pod.mounted), None)
    if unmounted is None:
        nodes = ", ".join(sorted({pod.node for pod in scheduled}))
        sentence = f"{len(scheduled)} pod(s) have mounted the claim (on {nodes})."
        return Finding(MOUNTED, Verdict.PASS, sentence, observed={"pods": [pod.name for pod in scheduled]})
    return _not_mounted(unmounted, last_warning(unmounted.name, state.events), bound_for_s, mount_s)


def _not_mounted(unmounted: PodState, warning: Event | None, bound_for_s: float, mount_s: float) -> NotYet | Finding:
    why = f"pod {unmounted.name} on {unmounted.node}: {_in_words(warning)}" if warning else ""
    if bound_for_s < mount_s:
        return NotYet(why or f"pod {unmounted.name} on {unmounted.node} has not mounted its volumes yet")
    if warning is None:
        sentence = f"Pod {unmounted.name} on {unmounted.node} has not mounted its volumes, and no event says why."
        return Finding(MOUNTED, Verdict.WARN, sentence, f"See kubectl describe pod {unmounted.name}.")
    return Finding(
        MOUNTED,
        Verdict.FAIL,
        _dot(f"After {bound_for_s:.0f} s the volume is not mounted for {why}"),
        remedy_for(warning.message)
        or f"See the CSI driver's pods on {unmounted.node}; kubectl describe pod {unmounted.name}.",
        observed={"pod": unmounted.name, "node": unmounted.node, "reason": warning.reason, "message": warning.message},
    )


def _unknown(claim: Unknown) -> list[Finding]:
    sentence = f"Could not check the claim: {claim.reason}."
    fix = "The hook's ServiceAccount needs get on this claim, and list on pods and events, in this namespace."
    return [Finding(BOUND, Verdict.INCONCLUSIVE, sentence, fix)]


def _bad(check_id: str, claim: Claim, what: str, remedy: str, event: Event | None = None) -> Finding:
    observed = {"phase": claim.phase, "accessModes": list(claim.access_modes), "storageClass": claim.storage_class}
    if event is not None:
        observed |= {"reason": event.reason, "message": event.message}
    fix = remedy or f"See kubectl describe pvc {claim.name}."
    return Finding(check_id, Verdict.FAIL, f'Claim "{claim.name}" {what}', fix, _CLAIMS, observed)


def _in_words(event: Event) -> str:
    return f"{event.reason}: {_cut(event.message)}"


def _cut(text: str, chars: int = 400) -> str:
    return text if len(text) <= chars else text[: chars - 3] + "..."


def _dot(text: str) -> str:
    return text if text.endswith(".") else text + "."

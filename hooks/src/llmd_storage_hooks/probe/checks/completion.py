# SPDX-License-Identifier: Apache-2.0
"""Probe, completion: did both pods meet, on two nodes, and did every step end?"""

from __future__ import annotations

import errno

from llmd_storage_hooks.core.kube import image_errors
from llmd_storage_hooks.core.kube.image_errors import lacks_image
from llmd_storage_hooks.core.kube.volume_errors import remedy_for
from llmd_storage_hooks.core.verdicts import Finding, Verdict
from llmd_storage_hooks.probe.checks.wording import SECURITY_LINK, not_reached, remedy
from llmd_storage_hooks.probe.config import ProbeConfig
from llmd_storage_hooks.probe.facts import Observations, ObservedPod, StepResult

_LINK = "https://kubernetes.io/docs/concepts/storage/persistent-volumes/#access-modes"


def partner(mine: Observations, path: str, other: ObservedPod | None = None) -> Finding:
    """Both pods met over the volume. other: pod 1 as the API server shows it."""
    check_id = "probe.partner"
    if mine.partner is not None:
        return Finding(check_id, Verdict.PASS, "Both probe pods met over the volume.")
    if mine.steps and mine.steps[0].outcome != "deadline":
        return not_reached(check_id)
    waited = mine.steps[0].seconds if mine.steps else 0.0
    if other is not None and other.ran:
        return _not_shared(check_id, mine, other, path, waited)
    if other is not None and not other.started:
        return not_started(check_id, other, waited)
    return Finding(
        check_id,
        Verdict.INCONCLUSIVE,
        f"The second probe pod did not show up in {path} within {waited:.0f} s: either it could not be "
        "scheduled on a second node, or its node mounts something that is not shared with this one.",
        "See where both pods are (kubectl get pods -o wide). If one is Pending, make a second node schedulable "
        "or raise hooks.probe.timeoutSeconds; if both ran, the volume is not shared: use a class backed by a "
        "shared filesystem.",
        _LINK,
        {"waitedSeconds": waited},
    )


def _not_shared(check_id: str, mine: Observations, other: ObservedPod, path: str, waited: float) -> Finding:
    nodes = f"{mine.pod.node or 'the one'} and {other.state.node}"
    return Finding(
        check_id,
        Verdict.FAIL,
        f"Both probe pods ran (nodes {nodes}), but within {waited:.0f} s neither saw the other's files in {path}: what "
        "the nodes mount there is not the same filesystem.",
        "Use a claim of a shared filesystem (not a hostPath, a local disk, or a block device on each node); if both "
        "mount the same server, see that they mount the same export of it.",
        _LINK,
        {"waitedSeconds": waited, "pod": other.state.name, "nodes": [mine.pod.node, other.state.node]},
    )


def not_started(check_id: str, other: ObservedPod, waited: float | None) -> Finding:
    """A pod that did not start, with what the cluster says about it. waited: seconds; None = not known."""
    pod, warning = other.state, other.warning
    observed = {"waitedSeconds": waited, "pod": pod.name, "node": pod.node}
    which = f"{'second' if check_id == 'probe.partner' else 'first'} probe pod ({pod.name})"
    within = f" within {waited:.0f} s" if waited is not None else ""
    if not pod.node:
        why = pod.message or pod.reason or pod.phase
        return Finding(
            check_id,
            Verdict.INCONCLUSIVE,
            f"The {which} was not scheduled{within}: {why}",
            "Make a node schedulable for it: the probe takes nodeSelector and tolerations of modelserver.",
            observed=observed,
        )
    if lacks_image(pod):
        return Finding(
            check_id,
            Verdict.INCONCLUSIVE,
            f"The {which} on node {pod.node} did not start{within}: it cannot have the image {pod.image} of its "
            f"container {pod.container}: {image_errors.reason(pod)}.",
            image_errors.remedy(pod),
            observed=observed | {"image": pod.image},
        )
    words = f"{warning.reason}: {warning.message}" if warning else pod.message or pod.reason or pod.phase
    mount = warning is not None and warning.reason in ("FailedMount", "FailedAttachVolume")
    return Finding(
        check_id,
        Verdict.FAIL if mount else Verdict.INCONCLUSIVE,
        f"The {which} did not start on node {pod.node}{within}: {words}",
        (remedy_for(warning.message) if warning else "")
        or f"See kubectl describe pod {pod.name}, and the CSI driver's pods on that node.",
        _LINK,
        observed,
    )


def nodes(mine: Observations) -> Finding:
    """They ran on two nodes."""
    check_id = "probe.nodes"
    assert mine.partner is not None
    here, there = mine.pod.node, mine.partner.node
    observed = {"nodes": [here, there]}
    if here and there and here != there:
        return Finding(check_id, Verdict.PASS, f"The pods ran on two nodes, {here} and {there}.", observed=observed)
    where = f"on one node ({here})" if here and here == there else "on nodes that are not known (NODE_NAME)"
    return Finding(
        check_id,
        Verdict.INCONCLUSIVE,
        f"Both probe pods ran {where}, so the probe says nothing about sharing between nodes.",
        "Make a second node schedulable for these pods (nodeSelector, taints, capacity) and run the probe again: "
        "helm test. To accept this, set hooks.allowInconclusive=true.",
        observed=observed,
    )


def finished(config: ProbeConfig, mine: Observations, theirs: Observations | None) -> Finding:
    """Every step of both pods ended well; else the failure that says most."""
    check_id = "probe.finished"
    bad = [
        (pod, step)
        for pod, one in ((0, mine), (1, theirs))
        if one is not None
        for step in one.steps
        if step.outcome != "done"
    ]
    if not bad:
        if theirs is None:
            return Finding(
                check_id,
                Verdict.INCONCLUSIVE,
                "All steps are done, but the second pod did not send what it observed.",
                "See that pod's log (kubectl logs), and run the probe again: helm test.",
            )
        return Finding(check_id, Verdict.PASS, "All steps ended within their deadlines.")
    # The pod that failed itself says more than the one that was told of it or kept waiting.
    pod, step = min(bad, key=lambda one: _MOST_TELLING_FIRST.index(one[1].outcome))
    if step.name == "meet" and step.outcome == "deadline":
        return Finding(check_id, Verdict.SKIPPED, "No step was taken: the pods did not meet.")
    return _unfinished(check_id, config, pod, step)


_MOST_TELLING_FIRST = ("timeout", "error", "stopped", "deadline", "aborted")


def _unfinished(check_id: str, config: ProbeConfig, pod: int, step: StepResult) -> Finding:
    observed = {"pod": pod, "step": step.name, "operation": step.operation, "errno": step.errno}
    if step.outcome == "stopped":
        sentence = f'The probe was told to end during step "{step.name}".'
        return Finding(check_id, Verdict.INCONCLUSIVE, sentence, "Run it again: helm test.", observed=observed)
    if step.outcome == "timeout":
        return Finding(
            check_id,
            Verdict.FAIL,
            f'The filesystem at {config.path} did not answer in step "{step.name}" ({step.detail}); pod {pod} '
            f"is stuck in: {step.operation}.",
            "See the storage's servers and the CSI driver's pods; a model server would meet the same. If the "
            "storage is only slow, raise hooks.probe.deadlineSeconds.",
            observed=observed,
        )
    if step.outcome == "error":
        return Finding(
            check_id,
            Verdict.FAIL,
            f'Step "{step.name}" failed on pod {pod} in {config.path}: {step.detail} (while: {step.operation}).',
            remedy(step.errno, step.detail) or "See the storage's health and the mount options of its class.",
            SECURITY_LINK if step.errno in (errno.EACCES, errno.EPERM) else "",
            observed,
        )
    return Finding(
        check_id,
        Verdict.FAIL,
        f'Step "{step.name}" did not end in time on pod {pod}: {step.detail}.',
        "The other pod went silent or does not see this pod's files: see its log and the storage's health. If "
        "the storage is only slow, raise hooks.probe.deadlineSeconds.",
        observed=observed,
    )

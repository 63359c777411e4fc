# SPDX-License-Identifier: Apache-2.0
"""Proof, pods: are two model servers ready, and if not, why?"""

from __future__ import annotations

import re

from llmd_storage_hooks.core.kube import image_errors
from llmd_storage_hooks.core.kube.describe import pod_line
from llmd_storage_hooks.core.kube.image_errors import lacks_image
from llmd_storage_hooks.core.kube.objects import NotYet, PodState
from llmd_storage_hooks.core.verdicts import Finding, Verdict
from llmd_storage_hooks.proof.config import ProofConfig
from llmd_storage_hooks.proof.facts import PodPair, SinglePod, Unrecoverable, WaitResult

_CHECK = "proof.pods"

# What to do about the reasons that Kubernetes gives, as far as this chart's values can do something.
_REMEDIES = {
    "Unschedulable": "Make room: modelserver.resources, tensorParallelSize, replicas, nodeSelector and tolerations "
    "must fit the nodes.",
    "CreateContainerConfigError": "A Secret or ConfigMap that the pod names is missing; see the message.",
    "OOMKilled": "Raise the container's memory limit, or lower modelserver.cpuTier.size (it counts as memory).",
    "NotReady": "Loading a model takes time: raise hooks.proof.readyTimeoutSeconds and the startup budget of the "
    "probes, or see the pod's log.",
    "ContainerCreating": "The volume may not mount: see kubectl describe pod, under Events.",
}
# How Linux and Python report that a full tmpfs could not back a mapped page; 135 is 128 plus SIGBUS.
_SHM_FULL = re.compile(r"exit code 135\b|SIGBUS|Bus error|/dev/shm\S*: No space|No space left on device: '/dev/shm")


def check(config: ProofConfig, waiting: WaitResult) -> Finding:
    """How waiting for the model servers ended."""
    result = waiting.result
    if waiting.failure:
        return Finding(
            _CHECK,
            Verdict.INCONCLUSIVE,
            f"Could not check the model servers: {waiting.failure}.",
            "The hook's ServiceAccount needs get and list on pods in this namespace.",
        )
    if isinstance(result, PodPair):
        sentence = f"Two model servers are ready ({waiting.waited_seconds:.0f} s waited)."
        return Finding(_CHECK, Verdict.PASS, sentence)
    if isinstance(result, SinglePod):
        return Finding(
            _CHECK,
            Verdict.INCONCLUSIVE,
            f"There is only one model server ({result.pod.name}), so it is not proven that another one can read.",
            "Set modelserver.replicas to 2 or more. To accept one, set hooks.allowInconclusive=true.",
            observed={"pod": result.pod.name},
        )
    if isinstance(result, Unrecoverable):
        pod = result.pod
        if lacks_image(pod):
            return _lacks_image(pod, waiting)
        return Finding(
            _CHECK,
            Verdict.FAIL,
            f"Model server {pod_line(pod)}; it will not become ready by waiting.",
            f"{_remedy(pod, waiting.log_tail)} Then: kubectl logs {pod.name} --previous.",
            observed={"pod": pod.name, "reason": pod.reason, "log": waiting.log_tail[-2000:]},
        )
    return _timed_out(config, waiting, result)


def died(before: PodState, now: PodState | None, log: str) -> Finding | None:
    """A finding when a server that was ready is gone, not ready or restarted; else None."""
    check_id = "proof.stable"
    if now is not None and now.ready and now.restarts == before.restarts:
        return None
    became = pod_line(now) if now is not None else f"{before.name}: gone"
    return Finding(
        check_id,
        Verdict.FAIL,
        f"A model server that was ready stopped working during the proof: {became}.",
        f"{_remedy(now, log) if now is not None else ''} See kubectl logs {before.name} --previous.".strip(),
        observed={"pod": before.name, "log": log[-2000:]},
    )


def _timed_out(config: ProofConfig, waiting: WaitResult, result: NotYet) -> Finding:
    waited = f"{waiting.waited_seconds:.0f} s"
    if not waiting.pods:
        selector = ",".join(f"{key}={value}" for key, value in sorted(config.pod_selector.items()))
        return Finding(
            _CHECK,
            Verdict.FAIL,
            f"After {waited} no pod in namespace {config.namespace} matches {selector}.",
            "See kubectl describe deployment and replicaset (with modelserver.nodes leaderworkerset and statefulset): "
            "quota, Pod Security or an admission webhook may refuse the pods.",
        )
    waits = [pod for pod in waiting.pods if not pod.ready and not pod.deleting]
    worst = waits[0] if waits else waiting.pods[0]
    if lacks_image(worst):
        return _lacks_image(worst, waiting)
    return Finding(
        _CHECK,
        Verdict.FAIL,
        f"After {waited}: {result.why}. {pod_line(worst)}.",
        _remedy(worst),
        observed={"pods": [pod_line(pod) for pod in waiting.pods]},
    )


def _lacks_image(pod: PodState, waiting: WaitResult) -> Finding:
    return Finding(
        _CHECK,
        Verdict.FAIL,
        f"After {waiting.waited_seconds:.0f} s model server {pod.name} on {pod.node} cannot have the image {pod.image} "
        f"of its container {pod.container}: {image_errors.reason(pod)}.",
        image_errors.remedy(pod),
        observed={"pod": pod.name, "image": pod.image, "reason": pod.reason},
    )


def _remedy(pod: PodState, log: str = "") -> str:
    if "OOMKilled" in f"{pod.reason} {pod.message}":
        return _REMEDIES["OOMKilled"]
    if _SHM_FULL.search(f"{pod.message} {log}"):
        return (
            "The pod's /dev/shm is too small for the CPU tier (SIGBUS): raise "
            "modelserver.cpuTier.shmHeadroom, or lower modelserver.cpuTier.size."
        )
    return _REMEDIES.get(pod.reason, f"See kubectl describe pod {pod.name} and its log.")

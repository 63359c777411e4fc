# SPDX-License-Identifier: Apache-2.0
"""From the pods' states to: two are ready, a single one is, not yet, or never. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from llmd_storage_hooks.core.kube.objects import NotYet, PodState
from llmd_storage_hooks.proof.facts import PodPair, SinglePod, Unrecoverable

CRASHES_UNRECOVERABLE = 3
SINGLE_POD_GRACE_S = 15.0  # how long to wait for a second pod beside a ready one

IMAGE_GRACE_S = 300.0  # how long an image may fail to be pulled: a registry may be away for a while

# Reasons for which waiting does not help: a value must be changed.
_FATAL = frozenset({"ErrImageNeverPull", "InvalidImageName", "CreateContainerConfigError"})


def assess(
    pods: Sequence[PodState], single_for_s: float, imageless_for_s: Mapping[str, float] = MappingProxyType({})
) -> PodPair | SinglePod | Unrecoverable | NotYet:
    """`single_for_s`: how long there has been exactly one pod, and that one ready.

    imageless_for_s: by pod, how long it has waited for an image.
    """
    live = [pod for pod in pods if not pod.deleting]
    if not live:
        return NotYet("no pod matches the selector yet")
    dead = next((p for p in live if unrecoverable(p) or imageless_for_s.get(p.name, 0.0) >= IMAGE_GRACE_S), None)
    if dead is not None:
        return Unrecoverable(dead)
    generations = {pod.generation for pod in live}
    if len(generations) > 1:
        return NotYet(f"a rollout is under way ({len(live)} pods of {len(generations)} generations)")
    ready = [pod for pod in live if pod.ready and pod.ip]
    if len(ready) >= 2:
        return pick(ready)
    if len(live) == 1 and ready and single_for_s >= SINGLE_POD_GRACE_S:
        return SinglePod(live[0])
    return NotYet(f"{len(ready)} of {len(live)} pods ready")


def unrecoverable(pod: PodState) -> bool:
    """Whether waiting cannot make the pod ready."""
    crashing = pod.reason == "CrashLoopBackOff" and pod.restarts >= CRASHES_UNRECOVERABLE
    return not pod.ready and (crashing or pod.reason in _FATAL)


def pick(ready: Sequence[PodState]) -> PodPair:
    """Two pods, on two nodes where possible; always the same two for the same pods."""
    ordered = sorted(ready, key=lambda pod: pod.name)
    first = ordered[0]
    second = next((pod for pod in ordered[1:] if pod.node != first.node), ordered[1])
    return PodPair(first, second)


def further(pods: Sequence[PodState], pair: PodPair) -> tuple[PodState, ...]:
    """The ready pods beyond the pair, in the order of their names."""
    known = {pair.first.name, pair.second.name}
    ready = [pod for pod in pods if pod.ready and pod.ip and not pod.deleting and pod.name not in known]
    return tuple(sorted(ready, key=lambda pod: pod.name))

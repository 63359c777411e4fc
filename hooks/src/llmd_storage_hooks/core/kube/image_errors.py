# SPDX-License-Identifier: Apache-2.0
"""A pod whose image cannot be had: it has no log, so a pod that runs says it. Pure."""

from __future__ import annotations

from llmd_storage_hooks.core.kube.objects import PodState

REASONS = frozenset({"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError"})

# Which value names the image, by the container.
_PROJECT = "global.image (registry, repository, tag)"
_VALUES = {
    "vllm": "modelserver.image",
    "epp": "inferencepool.epp.image",
    "envoy": "inferencepool.envoy.image",
    **dict.fromkeys(("connector", "trust", "preflight", "claim", "probe", "proof", "chown", "evictor"), _PROJECT),
}


def lacks_image(pod: PodState) -> bool:
    """Whether one of its containers waits for an image."""
    return not pod.ready and pod.reason in REASONS


def reason(pod: PodState) -> str:
    """The kubelet's, with the registry's words at its end. Requires: lacks_image."""
    words = " ".join(pod.message.split())[-400:]
    return f"{pod.reason} ({words})" if words else pod.reason


def remedy(pod: PodState) -> str:
    """What to set. Requires: lacks_image."""
    value = _VALUES.get(pod.container, f"the image of container {pod.container}")
    if pod.reason == "ErrImageNeverPull":
        return f"Load it on every node, or set the pullPolicy of {value} to IfNotPresent."
    return (
        f"Push it there, or set {value} to one that the nodes can pull (global.imageRegistry for a mirror of all); if "
        "the registry asks who one is, name its Secret in global.imagePullSecrets (as a tool: --image, --pull-secret)."
    )

# SPDX-License-Identifier: Apache-2.0
"""A pod in one line of text."""

from __future__ import annotations

from llmd_storage_hooks.core.kube.objects import PodState


def pod_line(pod: PodState) -> str:
    """Name, node, state and reason, for progress lines and sentences."""
    state = "ready" if pod.ready else "terminating" if pod.deleting else pod.reason or pod.phase
    where = f" on {pod.node}" if pod.node else ""
    container = f"container {pod.container}: " if pod.container and not pod.ready else ""
    message = f" ({container}{_cut(pod.message)})" if pod.message and not pod.ready else ""
    restarts = f", {pod.restarts} restart(s)" if pod.restarts else ""
    return f"{pod.name}{where}: {state}{message}{restarts}"


def _cut(text: str, chars: int = 160) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= chars else flat[: chars - 3] + "..."

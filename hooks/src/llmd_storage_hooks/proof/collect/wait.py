# SPDX-License-Identifier: Apache-2.0
"""Wait for two ready model servers, and say what each pod is doing meanwhile."""

from __future__ import annotations

from collections.abc import Callable

from llmd_storage_hooks.core.clock import Clock, Deadline
from llmd_storage_hooks.core.errors import CollectError, Forbidden, NotFound
from llmd_storage_hooks.core.kube import parse
from llmd_storage_hooks.core.kube.api import KubeApi
from llmd_storage_hooks.core.kube.describe import pod_line
from llmd_storage_hooks.core.kube.image_errors import lacks_image
from llmd_storage_hooks.core.kube.objects import NotYet, PodState
from llmd_storage_hooks.proof import readiness
from llmd_storage_hooks.proof.config import ProofConfig
from llmd_storage_hooks.proof.facts import PodPair, SinglePod, Unrecoverable, WaitResult

POLL_S = 1.0
SAY_EVERY_S = 5.0
LOG_LINES = 20
EXIT_SEEN_S = 20.0


def wait_for_servers(config: ProofConfig, kube: KubeApi, clock: Clock, say: Callable[[str], None]) -> WaitResult:
    """Blocks up to: readyTimeoutSeconds, or the whole hook's timeoutSeconds where that is less."""
    limit_s = min(config.ready_timeout_seconds, config.timeout_seconds)
    began, deadline = clock.now(), Deadline.after(clock, limit_s)
    said_at, single_since = -SAY_EVERY_S, None
    imageless_since: dict[str, float] = {}
    pods: tuple[PodState, ...] = ()
    failure, said_lines = "", list[str]()
    while True:
        try:
            pods, failure = list_pods(config, kube), ""
        except Forbidden as error:  # waiting does not change what the Role allows
            return WaitResult(NotYet("pods cannot be listed"), failure=str(error))
        except CollectError as error:
            failure = str(error)
        now = clock.now()
        live = [pod for pod in pods if not pod.deleting]
        single = len(live) == 1 and live[0].ready
        single_since = (single_since or now) if single else None
        imageless_since = {pod.name: imageless_since.get(pod.name, now) for pod in live if lacks_image(pod)}
        imageless = {name: now - since for name, since in imageless_since.items()}
        result = readiness.assess(pods, now - single_since if single_since else 0.0, imageless)
        done = WaitResult(result, pods, now - began, failure)
        if isinstance(result, PodPair | SinglePod):
            return done
        if isinstance(result, Unrecoverable):
            return WaitResult(result, pods, now - began, failure, log_tail(config, kube, result.pod))
        if deadline.passed():
            return done
        if now - said_at >= SAY_EVERY_S:
            said_at = now
            lines = [pod_line(pod) for pod in pods]
            say(f"[{now - began:4.0f} s] waiting: {failure or result.why}")
            if lines != said_lines:  # an unchanged state is not printed every five seconds
                said_lines = lines
                for line in lines:
                    say(f"         {line}")
        clock.sleep(min(POLL_S, deadline.left() + 0.01))


def list_pods(config: ProofConfig, kube: KubeApi) -> tuple[PodState, ...]:
    """Raises: CollectError."""
    selector = ",".join(f"{key}={value}" for key, value in sorted(config.pod_selector.items()))
    raw = kube.get(f"/api/v1/namespaces/{config.namespace}/pods", {"labelSelector": selector})
    return tuple(parse.pod(one) for one in parse.items(raw))


def find_changed(
    config: ProofConfig, kube: KubeApi, clock: Clock, pods: tuple[PodState, ...]
) -> list[tuple[PodState, PodState | None, str]]:
    """Those of `pods` that are gone, not ready or restarted: before, now, last log lines.

    Blocks up to: EXIT_SEEN_S, since the kubelet takes a while to report a container that exited.
    """
    deadline = Deadline.after(clock, EXIT_SEEN_S)
    while True:
        try:
            now = {pod.name: pod for pod in list_pods(config, kube)}
        except CollectError:
            return []
        changed = [(pod, now.get(pod.name)) for pod in pods if _changed(pod, now.get(pod.name))]
        if changed or deadline.passed():
            return [(pod, observed, log_tail(config, kube, observed or pod)) for pod, observed in changed]
        clock.sleep(POLL_S)


def _changed(before: PodState, now: PodState | None) -> bool:
    return now is None or not now.ready or now.restarts != before.restarts


def log_tail(config: ProofConfig, kube: KubeApi, pod: PodState) -> str:
    """The last lines of the container before its restart, else of the running one; "" when they cannot be read."""
    path = f"/api/v1/namespaces/{config.namespace}/pods/{pod.name}/log"
    query = {"tailLines": str(LOG_LINES)}
    if pod.container:
        query["container"] = pod.container
    for previous in ("true", "false"):
        try:
            text = kube.text(path, {**query, "previous": previous})
        except (NotFound, Forbidden):
            return ""
        except CollectError:
            continue
        if text.strip():
            return text.strip()
    return ""

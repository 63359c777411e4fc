# SPDX-License-Identifier: Apache-2.0
"""Follow a probe's Job: say what its pods do, keep their logs and reports, and remove the Job at the end."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from llmd_storage_hooks.core.clock import Clock, Deadline
from llmd_storage_hooks.core.errors import CollectError, NotFound
from llmd_storage_hooks.core.kube import parse, read
from llmd_storage_hooks.core.kube.api import KubeApi
from llmd_storage_hooks.core.kube.describe import pod_line
from llmd_storage_hooks.core.kube.objects import Event, PodState, Unknown
from llmd_storage_hooks.core.kube.volume_errors import last_warning
from llmd_storage_hooks.core.verdicts import Verdict
from llmd_storage_hooks.probe.facts import ObservedPod
from llmd_storage_hooks.probe.job.manifest import ProbeJob

POLL_S = 1.0
GONE_S = 60.0  # a pod that is told to end has half a minute to remove its scratch folder
AFTER_S = 30.0  # what the pods are given beyond the Job's own time until their end is seen

Say = Callable[[str], None]


class JobWatch:
    """What was last read of the Job's two pods, by completion index: they are gone before one can ask why.

    Thread: the caller's.
    """

    def __init__(self, job: ProbeJob, kube: KubeApi, clock: Clock, say: Say) -> None:
        self._job = job
        self._kube = kube
        self._clock = clock
        self._say = say
        self._pods: dict[str, PodState] = {}
        self._warnings: dict[str, Event] = {}
        self._logs: dict[str, str] = {}
        self._said: dict[str, str] = {}

    def follow(self) -> None:
        """Return when pod 0 has ended, or pod 1 has without it, or the Job's time is over."""
        deadline = Deadline.after(self._clock, self._job.timeout_seconds + AFTER_S)
        while not deadline.passed():
            self._poll_pods()
            first = self._pods.get("0")
            if first is not None and first.phase in ("Succeeded", "Failed"):
                self._read_log("0")
                return
            if first is not None and first.phase == "Running":
                self._read_log("0")
                if self.report("0") is not None:
                    return  # a pod that is stuck in a dead filesystem does not end, but it has reported
            second = self._pods.get("1")
            if second is not None and second.phase == "Failed" and not (first is not None and first.mounted):
                # What ended it says more than that pod 0 did not come: a volume that is full may be why it did not.
                self._read_log("1")
                if self.has_failure("1"):
                    return
            self._clock.sleep(POLL_S)

    def remove(self) -> bool:
        """Remove the Job and its pods; False, after a line that says so, when they stay. Blocks up to: GONE_S."""
        name, namespace = self._job.name, self._job.namespace
        path = f"/apis/batch/v1/namespaces/{namespace}/jobs/{name}"
        deadline, asked = Deadline.after(self._clock, GONE_S), False
        why = "its pods do not end"
        while True:
            try:
                if not asked:
                    self._kube.delete(path, {"propagationPolicy": "Foreground"})
                    asked = True
                self._kube.get(path)
            except NotFound:
                self._say(f"Job {name} is removed")
                return True
            except CollectError as error:
                why = str(error)
            if deadline.passed():
                self._say(f"Job {name} could not be removed ({why}): kubectl delete job {name} -n {namespace}")
                return False
            self._clock.sleep(POLL_S)

    def pods(self) -> dict[str, ObservedPod]:
        """The pods by completion index, each with its last warning."""
        return {index: ObservedPod(pod, self._warnings.get(index)) for index, pod in self._pods.items()}

    def log(self, index: str) -> str:
        """What was read of a pod's log, whole lines only; "" for none."""
        return self._logs.get(index, "")

    def report(self, index: str) -> Any:
        """The report that a pod printed as its last line; None when it has not."""
        last = self.log(index).strip().rpartition("\n")[2]
        try:
            report = json.loads(last)
        except ValueError:
            return None
        return report if isinstance(report, dict) and "findings" in report else None

    def has_failure(self, index: str) -> bool:
        """Whether a pod reported a failure. That its partner did not come is for whoever watches both pods to say."""
        report = self.report(index)
        return report is not None and any(one["verdict"] == Verdict.FAIL for one in report["findings"])

    def _poll_pods(self) -> None:
        path = f"/api/v1/namespaces/{self._job.namespace}/pods"
        try:
            raw = parse.items(self._kube.get(path, {"labelSelector": f"job-name={self._job.name}"}))
        except CollectError as error:
            self._say_once("pods", f"the pods cannot be listed: {error}")
            return
        events = read.events(self._kube, self._job.namespace)
        for one in raw:
            state, index = parse.pod(one), _completion_index(one)
            if state.deleting and index in self._pods:
                continue  # what it was told to end for is not why
            self._pods[index] = state
            warning = None if isinstance(events, Unknown) else last_warning(state.name, events)
            if warning is not None:
                self._warnings[index] = warning
            words = f" ({warning.reason}: {warning.message[:200]})" if warning and not state.mounted else ""
            self._say_once(index, f"pod {index}: {pod_line(state)}{words}")

    def _read_log(self, index: str) -> None:
        try:
            text = self._kube.text(f"/api/v1/namespaces/{self._job.namespace}/pods/{self._pods[index].name}/log")
        except CollectError as error:
            self._say_once(f"log {index}", f"pod {index}'s log cannot be read: {error}")
            return
        for line in text[len(self.log(index)) :].splitlines():
            if line.startswith("probe["):
                self._say(line)
        self._logs[index] = text[: text.rfind("\n") + 1]

    def _say_once(self, key: str, line: str) -> None:
        if self._said.get(key) != line:
            self._said[key] = line
            self._say(line)


def _completion_index(raw: Any) -> str:
    """Which of an Indexed Job's pods this is; "" for none."""
    return str(parse.mapping(raw, "metadata", "labels").get("batch.kubernetes.io/job-completion-index", ""))

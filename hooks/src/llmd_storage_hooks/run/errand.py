# SPDX-License-Identifier: Apache-2.0
"""The probe as a person's errand: make its Job, tell what happens, hand on its report, and leave nothing behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from llmd_storage_hooks import parse
from llmd_storage_hooks.checks import errand as checks
from llmd_storage_hooks.checks.attachment import trouble_of
from llmd_storage_hooks.collect import attachment
from llmd_storage_hooks.core.clock import Clock, Deadline, SystemClock
from llmd_storage_hooks.core.errors import CollectError, NotFound
from llmd_storage_hooks.core.kube.api import Kube, KubeApi
from llmd_storage_hooks.core.output import say
from llmd_storage_hooks.core.result import Outcome
from llmd_storage_hooks.core.verdicts import Finding, Verdict
from llmd_storage_hooks.facts import Event, PodState, Unknown
from llmd_storage_hooks.job import ProbeJob, manifest
from llmd_storage_hooks.proving import waiting

POLL_S = 1.0
GONE_S = 60.0  # a pod that is told to end has half a minute to remove its scratch folder
AFTER_S = 30.0  # what the pods are given beyond the Job's own time until their end is seen

Say = Callable[[str], None]


@dataclass
class Watched:
    """What was last seen of the two pods, by their index: they are gone before one can ask why."""

    pods: dict[str, PodState] = field(default_factory=dict)
    trouble: dict[str, Event] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)


def run(job: ProbeJob, kube: KubeApi | None = None, clock: Clock | None = None) -> Outcome:
    """Blocks up to: the Job's time and the time to remove it. The Job is removed however this ends."""
    clock = clock or SystemClock()
    made = True  # until it is known that it was not: one can be told to end in the middle of asking
    try:
        kube = kube or Kube.connect()
        kube.create(f"/apis/batch/v1/namespaces/{job.namespace}/jobs", manifest(job))
        say(f"Job {job.name} is made")
        return _outcome(follow(job, kube, clock, say))
    except CollectError as error:
        made = False
        return Outcome([checks.refused(job.name, job.namespace, str(error))])
    finally:
        if made and kube is not None:
            remove(job, kube, clock, say)


def follow(job: ProbeJob, kube: KubeApi, clock: Clock, tell: Say) -> Watched:
    """Until pod 0 has ended, or the other one has without it, or the Job's time is over."""
    watched, deadline = Watched(), Deadline.after(clock, job.timeout_seconds + AFTER_S)
    while not deadline.passed():
        _look(job, kube, watched, tell)
        first = watched.pods.get("0")
        if first is not None and first.phase in ("Succeeded", "Failed"):
            _read_log(job, kube, watched, "0", tell)
            break
        if first is not None and first.phase == "Running":
            _read_log(job, kube, watched, "0", tell)
            if _report(watched, "0") is not None:
                break  # a pod that is stuck in a dead filesystem does not end, but it has reported
        second = watched.pods.get("1")
        if second is not None and second.phase == "Failed" and not (first is not None and first.mounted):
            # What ended it says more than that pod 0 did not come: a volume that is full may be why it did not.
            _read_log(job, kube, watched, "1", tell)
            if _objects(_report(watched, "1")):
                break
        clock.sleep(POLL_S)
    return watched


def _look(job: ProbeJob, kube: KubeApi, watched: Watched, tell: Say) -> None:
    path = f"/api/v1/namespaces/{job.namespace}/pods"
    try:
        raw = parse.items(kube.get(path, {"labelSelector": f"job-name={job.name}"}))
    except CollectError as error:
        _once(watched, "pods", f"the pods cannot be listed: {error}", tell)
        return
    events = attachment.events(kube, job.namespace)
    for one in raw:
        state, index = parse.pod(one), parse.completion_index(one)
        if state.deleting and index in watched.pods:
            continue  # what it was told to end for is not why
        watched.pods[index] = state
        trouble = None if isinstance(events, Unknown) else trouble_of(state.name, events)
        if trouble is not None:
            watched.trouble[index] = trouble
        words = f" ({trouble.reason}: {trouble.message[:200]})" if trouble and not state.mounted else ""
        _once(watched, index, f"pod {index}: {waiting.line(state)}{words}", tell)


def _once(watched: Watched, key: str, line: str, tell: Say) -> None:
    if watched.told.get(key) != line:
        watched.told[key] = line
        tell(line)


def _read_log(job: ProbeJob, kube: KubeApi, watched: Watched, index: str, tell: Say) -> None:
    try:
        text = kube.text(f"/api/v1/namespaces/{job.namespace}/pods/{watched.pods[index].name}/log")
    except CollectError as error:
        _once(watched, f"log {index}", f"pod {index}'s log cannot be read: {error}", tell)
        return
    for line in text[len(watched.logs.get(index, "")) :].splitlines():
        if line.startswith("probe["):
            tell(line)
    watched.logs[index] = text[: text.rfind("\n") + 1]


def remove(job: ProbeJob, kube: KubeApi, clock: Clock, tell: Say) -> bool:
    """The Job and its pods. Says so when they stay."""
    path = f"/apis/batch/v1/namespaces/{job.namespace}/jobs/{job.name}"
    deadline, asked = Deadline.after(clock, GONE_S), False
    why = "its pods do not end"
    while True:
        try:
            if not asked:
                kube.delete(path, {"propagationPolicy": "Foreground"})
                asked = True
            kube.get(path)
        except NotFound:
            tell(f"Job {job.name} is removed")
            return True
        except CollectError as error:
            why = str(error)
        if deadline.passed():
            tell(f"Job {job.name} could not be removed ({why}): kubectl delete job {job.name} -n {job.namespace}")
            return False
        clock.sleep(POLL_S)


def _outcome(watched: Watched) -> Outcome:
    report = _report(watched, "0")
    if report is None and _objects(alone := _report(watched, "1")):
        report = alone
    others = {index: (pod, watched.trouble.get(index)) for index, pod in watched.pods.items()}
    if report is None:
        return Outcome([checks.unreported(others, watched.logs.get("0", ""))])
    findings = [_finding(one) for one in report["findings"]]
    return Outcome(checks.with_other_pod(findings, others.get("1")), report["numbers"])


def _objects(report: Any) -> bool:
    """Whether it found something wrong. That its partner did not come is for whoever watches both pods to say."""
    return report is not None and any(one["verdict"] == Verdict.FAIL for one in report["findings"])


def _report(watched: Watched, index: str) -> Any:
    last = watched.logs.get(index, "").strip().rpartition("\n")[2]
    try:
        report = json.loads(last)
    except ValueError:
        return None
    return report if isinstance(report, dict) and "findings" in report else None


def _finding(raw: dict[str, Any]) -> Finding:
    return Finding(raw["id"], Verdict(raw["verdict"]), raw["sentence"], raw["remedy"], raw["link"], raw["seen"])

# SPDX-License-Identifier: Apache-2.0
"""`probe --claim`: make the probe's Job, say what happens, pass its report on, and leave nothing behind."""

from __future__ import annotations

from typing import Any

from llmd_storage_hooks.core.clock import Clock, SystemClock
from llmd_storage_hooks.core.errors import CollectError
from llmd_storage_hooks.core.kube.api import Kube, KubeApi
from llmd_storage_hooks.core.output import say
from llmd_storage_hooks.core.result import HookResult
from llmd_storage_hooks.core.verdicts import Finding, Verdict
from llmd_storage_hooks.probe.job import checks
from llmd_storage_hooks.probe.job.manifest import ProbeJob, manifest
from llmd_storage_hooks.probe.job.watch import JobWatch


def run(job: ProbeJob, kube: KubeApi | None = None, clock: Clock | None = None) -> HookResult:
    """Blocks up to: the Job's time and the time to remove it. The Job is removed however this ends."""
    try:
        kube = kube or Kube.connect()
    except CollectError as error:
        return HookResult([checks.refused(job.name, job.namespace, str(error))])
    watch = JobWatch(job, kube, clock or SystemClock(), say)
    made = True  # until it is known that it was not: a signal may come while the API server is making it
    try:
        kube.create(f"/apis/batch/v1/namespaces/{job.namespace}/jobs", manifest(job))
        say(f"Job {job.name} is made")
        watch.follow()
        return _outcome(watch)
    except CollectError as error:
        made = False
        return HookResult([checks.refused(job.name, job.namespace, str(error))])
    finally:
        if made:
            watch.remove()


def _outcome(watch: JobWatch) -> HookResult:
    """Pod 0's report; pod 1's where it reported a failure and pod 0 nothing."""
    report = watch.report("0")
    if report is None and watch.has_failure("1"):
        report = watch.report("1")
    pods = watch.pods()
    if report is None:
        return HookResult([checks.unreported(pods, watch.log("0"))])
    findings = [_finding(one) for one in report["findings"]]
    return HookResult(checks.with_partner(findings, pods.get("1")), report["numbers"])


def _finding(raw: dict[str, Any]) -> Finding:
    return Finding(raw["id"], Verdict(raw["verdict"]), raw["sentence"], raw["remedy"], raw["link"], raw["observed"])

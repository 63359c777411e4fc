# SPDX-License-Identifier: Apache-2.0
"""Probe, Job: what became of the Job that `probe --claim` made."""

from __future__ import annotations

from collections.abc import Mapping

from llmd_storage_hooks.core.verdicts import Finding, Verdict
from llmd_storage_hooks.probe.checks.completion import not_started
from llmd_storage_hooks.probe.facts import ObservedPod

_CHECK = "probe.job"


def refused(name: str, namespace: str, why: str) -> Finding:
    """The API server did not make the Job."""
    return Finding(
        _CHECK,
        Verdict.INCONCLUSIVE,
        f'Job "{name}" could not be made in namespace {namespace}: {why}.',
        "Your account needs create, get and delete on jobs, and list on pods, pods/log and events, in that namespace.",
    )


def unreported(pods: Mapping[str, ObservedPod], log: str) -> Finding:
    """Pod 0 printed no report: it did not start, or was ended from outside."""
    found = pods.get("0")
    if found is None:
        return Finding(
            _CHECK,
            Verdict.INCONCLUSIVE,
            "The Job made no pod in its time.",
            "See kubectl get events: a ResourceQuota, a LimitRange or an admission webhook may refuse its pods.",
        )
    pod = found.state
    if not found.started:
        return not_started(_CHECK, found, None)
    sentence = log.strip().rpartition("\n")[2][:300] or pod.message or pod.reason or pod.phase
    return Finding(
        _CHECK,
        Verdict.INCONCLUSIVE,
        f"The first probe pod ({pod.name}) on node {pod.node} left no report; the last that is known of it: {sentence}",
        "If it cannot pull or run the image, set --image to the project's image that your nodes can pull, and "
        "--pull-secret; else run it again.",
        observed={"pod": pod.name, "node": pod.node},
    )


def with_partner(findings: list[Finding], partner: ObservedPod | None) -> list[Finding]:
    """Say why pod 1 did not start: pod 0 may not ask the API server, but the caller of this has."""
    if partner is None or partner.started:
        return findings
    return [
        not_started(one.id, partner, one.observed.get("waitedSeconds"))
        if one.id == "probe.partner" and one.verdict is Verdict.INCONCLUSIVE
        else one
        for one in findings
    ]

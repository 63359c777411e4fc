# SPDX-License-Identifier: Apache-2.0
"""Claim: watch the claim until it is bound and mounted, or will not be. Needs no volume itself, so it can say why."""

from __future__ import annotations

from llmd_storage_hooks.claim import checks
from llmd_storage_hooks.claim.collect import claim_state
from llmd_storage_hooks.claim.config import ClaimConfig
from llmd_storage_hooks.claim.facts import ClaimState
from llmd_storage_hooks.core.clock import Clock, Deadline, SystemClock
from llmd_storage_hooks.core.errors import Unreachable
from llmd_storage_hooks.core.kube.api import Kube, KubeApi
from llmd_storage_hooks.core.kube.objects import Claim, NotYet, Unknown
from llmd_storage_hooks.core.output import say
from llmd_storage_hooks.core.result import HookResult

POLL_S = 2.0
SAY_EVERY_S = 30.0  # an unchanged reason is printed again, so that a reader sees that the hook still waits


def run(config: ClaimConfig, kube: KubeApi | None = None, clock: Clock | None = None) -> HookResult:
    """Blocks up to: timeoutSeconds, plus one poll."""
    clock = clock or SystemClock()
    try:
        kube = kube or Kube.connect()
    except Unreachable as error:  # no credentials
        no_cluster = ClaimState(Unknown(str(error)), (), ())
        findings = checks.check(no_cluster, checks.FIRST_ERROR_GRACE_S, 0.0, config.mount_seconds)
        assert not isinstance(findings, NotYet)
        return HookResult(findings)
    began, deadline = clock.now(), Deadline.after(clock, config.timeout_seconds)
    bound_at: float | None = None
    said, said_at = "", 0.0
    while True:
        state = claim_state(kube, config.namespace, config.claim_name, config.pod_selector)
        now = clock.now()
        if bound_at is None and isinstance(state.claim, Claim) and state.claim.phase == "Bound":
            bound_at = now
            say(f"[{now - began:4.0f} s] claim {config.claim_name} is bound")
        bound_for = now - bound_at if bound_at is not None else 0.0
        result = checks.check(state, now - began, bound_for, config.mount_seconds)
        waited = {"waitedSeconds": round(now - began, 1)}
        if not isinstance(result, NotYet):
            return HookResult(result, waited)
        if deadline.passed():
            return HookResult(checks.timed_out(state, result, now - began), waited)
        if result.why != said or now - said_at >= SAY_EVERY_S:
            said, said_at = result.why, now
            say(f"[{now - began:4.0f} s] waiting for claim {config.claim_name}: {result.why}")
        clock.sleep(min(POLL_S, deadline.left() + 0.01))

# SPDX-License-Identifier: Apache-2.0
"""Preflight, model: the claim that the model servers read the model from."""

from __future__ import annotations

from llmd_storage_hooks.core.kube.objects import Absent, Claim, Unknown
from llmd_storage_hooks.core.verdicts import Finding, Verdict
from llmd_storage_hooks.preflight.checks.mountable import details, unmountable
from llmd_storage_hooks.preflight.config import PreflightConfig
from llmd_storage_hooks.preflight.facts import PreflightFacts

_ID = "preflight.claim.model"
_SHARED_MODES = {"ReadWriteMany", "ReadOnlyMany"}


def check(config: PreflightConfig, facts: PreflightFacts) -> list[Finding]:
    """Nothing where the model comes from elsewhere."""
    if not config.model_claim or facts.model_claim is None:
        return []
    return [model_claim(config.model_claim, facts.model_claim, config.workload.replicas)]


def model_claim(name: str, observed: Claim | Absent | Unknown, replicas: int) -> Finding:
    """The model's claim is there, is a filesystem, and can be mounted by every replica."""
    if isinstance(observed, Unknown):
        fix = f"Look yourself: kubectl get pvc {name}."
        return Finding(_ID, Verdict.WARN, f'Could not check the model\'s claim "{name}": {observed.reason}.', fix)
    if isinstance(observed, Absent):
        return Finding(
            _ID,
            Verdict.FAIL,
            f'modelserver.modelSource.claimName names "{name}", but there is no such claim in this namespace.',
            "Create it here with the model in it, or set modelserver.modelSource.type=hub.",
        )
    return _unusable(name, observed, replicas) or Finding(
        _ID,
        Verdict.PASS,
        f'The model\'s claim "{name}" can be mounted by every replica.',
        observed=details(observed),
    )


def _unusable(name: str, observed: Claim, replicas: int) -> Finding | None:
    problem = unmountable(_ID, "The model's claim", observed)
    if problem is not None:
        return problem
    if replicas > 1 and not _SHARED_MODES & set(observed.access_modes):
        modes = ", ".join(observed.access_modes) or "no access mode"
        return Finding(
            _ID,
            Verdict.FAIL,
            f'The model\'s claim "{name}" has {modes}, so it can be mounted on one node only; there are {replicas} '
            "replicas, which share a cache between nodes.",
            "Put the model on a claim with accessModes [ReadOnlyMany] or [ReadWriteMany], or set "
            "modelserver.modelSource.type to hub or image.",
            observed=details(observed),
        )
    if observed.phase == "Pending":
        return Finding(
            _ID,
            Verdict.WARN,
            f'The model\'s claim "{name}" is not bound yet, so there can be no model in it.',
            f"See kubectl describe pvc {name}, and copy the model there first.",
            observed=details(observed),
        )
    return None

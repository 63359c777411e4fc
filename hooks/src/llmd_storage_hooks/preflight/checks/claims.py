# SPDX-License-Identifier: Apache-2.0
"""Preflight, claims: an existing claim of the user, or the chart's own claim from an earlier install."""

from __future__ import annotations

from llmd_storage_hooks.core.kube.objects import Absent, Claim, Unknown
from llmd_storage_hooks.core.verdicts import Finding, Verdict
from llmd_storage_hooks.preflight.checks.mountable import CLAIMS, details, unmountable
from llmd_storage_hooks.preflight.config import PreflightConfig, Storage
from llmd_storage_hooks.preflight.facts import PreflightFacts, StorageClass

RWX_MODE = "ReadWriteMany"
GI = 1024**3
_ACCESS_MODES = "https://kubernetes.io/docs/concepts/storage/persistent-volumes/#access-modes"


def check(
    config: PreflightConfig, facts: PreflightFacts, chosen: StorageClass | None, size_bytes: int | None
) -> list[Finding]:
    """The user's existing claim if one is set; else the chart's, which outlives an uninstall."""
    if config.storage.existing_claim:
        return [existing_claim(config.storage, facts.claim, size_bytes, facts.claim_users)]
    if isinstance(facts.claim, Claim):
        problem = other_releases_claim(facts.claim, config.release)
        return [problem or kept_claim(facts.claim, chosen, config.storage, size_bytes)]
    return []


def other_releases_claim(observed: Claim, release: str) -> Finding | None:
    """A claim of the chart's name that another release made: Helm would refuse it, Argo CD would take it over."""
    if observed.release in ("", release):
        return None
    return Finding(
        "preflight.claim.kept",
        Verdict.FAIL,
        f'Claim "{observed.name}" is already there and belongs to the release "{observed.release}", '
        f'not to "{release}".',
        f'To share it, set storage.existingClaim="{observed.name}"; else install under another release name.',
        CLAIMS,
        details(observed),
    )


def existing_claim(
    storage: Storage,
    observed: Claim | Absent | Unknown | None,
    size_bytes: int | None,
    users: tuple[str, ...] | Unknown = (),
) -> Finding:
    """An existing claim of the user: ReadWriteMany, bound and large enough. users: pods that mount it now."""
    check_id = "preflight.claim.usable"
    name = storage.existing_claim
    if observed is None or isinstance(observed, Unknown):
        reason = observed.reason if observed else "it was not looked at"
        fix = f"Look yourself: kubectl get pvc {name}."
        return Finding(check_id, Verdict.WARN, f'Could not check claim "{name}": {reason}.', fix, CLAIMS)
    if isinstance(observed, Absent):
        return Finding(
            check_id,
            Verdict.FAIL,
            f'storage.existingClaim names "{name}", but there is no such claim in this namespace.',
            "Create it here with accessModes [ReadWriteMany], or leave storage.existingClaim empty so that "
            "the chart makes one.",
            CLAIMS,
        )
    problem = _unusable(check_id, observed)
    if problem is not None:
        return problem
    if observed.phase == "Pending":
        return Finding(
            check_id,
            Verdict.WARN,
            f'Claim "{name}" is not bound yet.',
            "That is normal when its class binds on first use (WaitForFirstConsumer); otherwise see "
            f"kubectl describe pvc {name}.",
            CLAIMS,
            details(observed),
        )
    if size_bytes is not None and observed.capacity_bytes is not None and observed.capacity_bytes < size_bytes:
        return Finding(
            check_id,
            Verdict.WARN,
            f'Claim "{name}" has {_gib(observed.capacity_bytes)}, less than storage.size ({storage.size}).',
            "Set storage.size to what the claim has, or enlarge the claim.",
            CLAIMS,
            details(observed),
        )
    others = f" {len(users)} pod(s) use it now." if isinstance(users, tuple) and users else ""
    sentence = f'Claim "{name}" is bound with ReadWriteMany.{others}'
    pods = list(users) if isinstance(users, tuple) else users.reason
    return Finding(check_id, Verdict.PASS, sentence, observed={**details(observed), "users": pods})


def _unusable(check_id: str, observed: Claim) -> Finding | None:
    """What makes a claim unusable, whoever made it; None when it is usable."""
    problem = unmountable(check_id, "Claim", observed)
    if problem is not None:
        return problem
    if RWX_MODE not in observed.access_modes:
        return Finding(
            check_id,
            Verdict.FAIL,
            f'Claim "{observed.name}" has access modes {", ".join(observed.access_modes) or "none"}, not {RWX_MODE}, '
            "so two pods on two nodes could not share the cache.",
            f"Use a claim with accessModes [{RWX_MODE}] on a shared filesystem; a claim's access modes "
            "cannot be changed after it was made.",
            _ACCESS_MODES,
            details(observed),
        )
    return None


def kept_claim(observed: Claim, chosen: StorageClass | None, storage: Storage, size_bytes: int | None) -> Finding:
    """The chart's own claim, when it is already there: its class cannot change and it cannot shrink."""
    check_id = "preflight.claim.kept"
    problem = _unusable(check_id, observed)
    if problem is not None:
        return problem
    there = f'Claim "{observed.name}" is already there with'
    wanted = storage.storage_class_name
    if wanted and observed.storage_class is not None and observed.storage_class != wanted:
        return Finding(
            check_id,
            Verdict.FAIL,
            f'{there} StorageClass "{observed.storage_class}", and storage.storageClassName is "{wanted}"; '
            "a claim's class cannot be changed.",
            f'Set storage.storageClassName="{observed.storage_class}", or delete the claim (and the cached '
            f"blocks in it): kubectl delete pvc {observed.name}.",
            CLAIMS,
            details(observed),
        )
    resize = _resize_problem(observed, chosen, size_bytes)
    if resize:
        has = _gib(observed.requested_bytes or 0)
        return Finding(
            check_id,
            Verdict.FAIL,
            f"{there} {has}, storage.size is {storage.size}, and {resize}.",
            f"Set storage.size to {has}.",
            CLAIMS,
            details(observed),
        )
    sentence = f'Claim "{observed.name}" is already there ({observed.phase}, {RWX_MODE}) and is kept.'
    return Finding(check_id, Verdict.PASS, sentence, observed=details(observed))


def _resize_problem(observed: Claim, chosen: StorageClass | None, size_bytes: int | None) -> str:
    if size_bytes is None or observed.requested_bytes is None or size_bytes == observed.requested_bytes:
        return ""
    if size_bytes < observed.requested_bytes:
        return "a claim cannot shrink"
    if observed.storage_class == "":
        return "the claim of a static volume cannot grow"
    if chosen is not None and not chosen.allows_expansion:
        return f'StorageClass "{chosen.name}" does not let claims grow (allowVolumeExpansion)'
    return ""


def _gib(size_bytes: int) -> str:
    gi = size_bytes / GI
    return f"{int(gi)}Gi" if gi == int(gi) else f"{gi:.1f}Gi"

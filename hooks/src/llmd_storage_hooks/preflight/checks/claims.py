# SPDX-License-Identifier: Apache-2.0
"""Preflight, claims: one that the user brings, or the chart's own that is already there."""

from __future__ import annotations

from llmd_storage_hooks.core.kube.objects import Absent, Claim, Unknown
from llmd_storage_hooks.core.verdicts import Finding, Verdict
from llmd_storage_hooks.preflight.config import PreflightConfig, Storage
from llmd_storage_hooks.preflight.facts import PreflightFacts, StorageClass

RWX_MODE = "ReadWriteMany"
GI = 1024**3
_ACCESS_MODES = "https://kubernetes.io/docs/concepts/storage/persistent-volumes/#access-modes"
_CLAIMS = "https://kubernetes.io/docs/concepts/storage/persistent-volumes/#persistentvolumeclaims"


def check(
    config: PreflightConfig, facts: PreflightFacts, chosen: StorageClass | None, size_bytes: int | None
) -> list[Finding]:
    """The user's own claim if there is one; else the chart's, which outlives an uninstall."""
    if config.storage.existing_claim:
        return [existing_claim(config.storage, facts.claim, size_bytes, facts.claim_users)]
    if isinstance(facts.claim, Claim):
        stranger = foreign_claim(facts.claim, config.release)
        return [stranger or kept_claim(facts.claim, chosen, config.storage, size_bytes)]
    return []


def foreign_claim(seen: Claim, release: str) -> Finding | None:
    """A claim of the chart's name that another release made: Helm would refuse it, Argo CD would take it over."""
    if seen.release in ("", release):
        return None
    return Finding(
        "preflight.claim.kept",
        Verdict.FAIL,
        f'Claim "{seen.name}" is already there and belongs to the release "{seen.release}", not to "{release}".',
        f'To share it, set global.existingClaim="{seen.name}"; else install under another release name.',
        _CLAIMS,
        _claim_seen(seen),
    )


def existing_claim(
    storage: Storage,
    seen: Claim | Absent | Unknown | None,
    size_bytes: int | None,
    users: tuple[str, ...] | Unknown = (),
) -> Finding:
    check_id = "preflight.claim.usable"
    name = storage.existing_claim
    if seen is None or isinstance(seen, Unknown):
        reason = seen.reason if seen else "it was not looked at"
        fix = f"Look yourself: kubectl get pvc {name}."
        return Finding(check_id, Verdict.WARN, f'Could not check claim "{name}": {reason}.', fix, _CLAIMS)
    if isinstance(seen, Absent):
        return Finding(
            check_id,
            Verdict.FAIL,
            f'global.existingClaim names "{name}", but there is no such claim in this namespace.',
            "Create it here with accessModes [ReadWriteMany], or leave global.existingClaim empty so that "
            "the chart makes one.",
            _CLAIMS,
        )
    trouble = _claim_trouble(check_id, seen)
    if trouble is not None:
        return trouble
    if seen.phase == "Pending":
        return Finding(
            check_id,
            Verdict.WARN,
            f'Claim "{name}" is not bound yet.',
            "That is normal when its class binds on first use (WaitForFirstConsumer); otherwise see "
            f"kubectl describe pvc {name}.",
            _CLAIMS,
            _claim_seen(seen),
        )
    if size_bytes is not None and seen.capacity_bytes is not None and seen.capacity_bytes < size_bytes:
        return Finding(
            check_id,
            Verdict.WARN,
            f'Claim "{name}" has {_gib(seen.capacity_bytes)}, less than storage.size ({storage.size}).',
            "Set storage.size to what the claim has, or enlarge the claim.",
            _CLAIMS,
            _claim_seen(seen),
        )
    others = f" {len(users)} pod(s) use it now." if isinstance(users, tuple) and users else ""
    said = f'Claim "{name}" is bound with ReadWriteMany.{others}'
    pods = list(users) if isinstance(users, tuple) else users.reason
    return Finding(check_id, Verdict.PASS, said, seen={**_claim_seen(seen), "users": pods})


def _claim_trouble(check_id: str, seen: Claim) -> Finding | None:
    """What makes any claim unusable, whoever made it."""
    if seen.deleting:
        return Finding(
            check_id,
            Verdict.FAIL,
            f'Claim "{seen.name}" is being deleted.',
            "Wait until it is gone (a pod that uses it holds it back), or name another claim.",
            _CLAIMS,
            _claim_seen(seen),
        )
    if seen.phase == "Lost":
        return Finding(
            check_id,
            Verdict.FAIL,
            f'Claim "{seen.name}" has lost its volume (phase Lost).',
            "Make a new claim; the volume behind this one no longer exists.",
            _CLAIMS,
            _claim_seen(seen),
        )
    if RWX_MODE not in seen.access_modes:
        return Finding(
            check_id,
            Verdict.FAIL,
            f'Claim "{seen.name}" has access modes {", ".join(seen.access_modes) or "none"}, not {RWX_MODE}, '
            "so two pods on two nodes could not share the cache.",
            f"Use a claim with accessModes [{RWX_MODE}] on a shared filesystem; a claim's access modes "
            "cannot be changed after it was made.",
            _ACCESS_MODES,
            _claim_seen(seen),
        )
    return None


def kept_claim(seen: Claim, chosen: StorageClass | None, storage: Storage, size_bytes: int | None) -> Finding:
    """The chart's own claim, when it is already there: its class cannot change and it cannot shrink."""
    check_id = "preflight.claim.kept"
    trouble = _claim_trouble(check_id, seen)
    if trouble is not None:
        return trouble
    there = f'Claim "{seen.name}" is already there with'
    wanted = storage.storage_class_name
    if wanted and seen.storage_class is not None and seen.storage_class != wanted:
        return Finding(
            check_id,
            Verdict.FAIL,
            f'{there} StorageClass "{seen.storage_class}", and storage.storageClassName is "{wanted}"; '
            "a claim's class cannot be changed.",
            f'Set storage.storageClassName="{seen.storage_class}", or delete the claim (and the cached '
            f"blocks in it): kubectl delete pvc {seen.name}.",
            _CLAIMS,
            _claim_seen(seen),
        )
    resize = _resize_trouble(seen, chosen, size_bytes)
    if resize:
        has = _gib(seen.requested_bytes or 0)
        return Finding(
            check_id,
            Verdict.FAIL,
            f"{there} {has}, storage.size is {storage.size}, and {resize}.",
            f"Set storage.size to {has}.",
            _CLAIMS,
            _claim_seen(seen),
        )
    said = f'Claim "{seen.name}" is already there ({seen.phase}, {RWX_MODE}) and is kept.'
    return Finding(check_id, Verdict.PASS, said, seen=_claim_seen(seen))


def _resize_trouble(seen: Claim, chosen: StorageClass | None, size_bytes: int | None) -> str:
    if size_bytes is None or seen.requested_bytes is None or size_bytes == seen.requested_bytes:
        return ""
    if size_bytes < seen.requested_bytes:
        return "a claim cannot shrink"
    if seen.storage_class == "":
        return "the claim of a static volume cannot grow"
    if chosen is not None and not chosen.allows_expansion:
        return f'StorageClass "{chosen.name}" does not let claims grow (allowVolumeExpansion)'
    return ""


def _gib(size_bytes: int) -> str:
    gi = size_bytes / GI
    return f"{int(gi)}Gi" if gi == int(gi) else f"{gi:.1f}Gi"


def _claim_seen(seen: Claim) -> dict[str, object]:
    return {
        "phase": seen.phase,
        "accessModes": list(seen.access_modes),
        "storageClass": seen.storage_class,
        "capacityBytes": seen.capacity_bytes,
    }

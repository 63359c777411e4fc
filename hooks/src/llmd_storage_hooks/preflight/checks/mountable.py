# SPDX-License-Identifier: Apache-2.0
"""Preflight, any claim: whether a pod can mount it as a directory at all."""

from __future__ import annotations

from llmd_storage_hooks.core.kube.objects import Claim
from llmd_storage_hooks.core.verdicts import Finding, Verdict

CLAIMS = "https://kubernetes.io/docs/concepts/storage/persistent-volumes/#persistentvolumeclaims"
_VOLUME_MODE = "https://kubernetes.io/docs/concepts/storage/persistent-volumes/#volume-mode"


def unmountable(check_id: str, whose: str, observed: Claim) -> Finding | None:
    """It is going, has lost its volume, or is a raw device; else None. whose: begins the sentences, before its name."""
    if observed.deleting:
        return Finding(
            check_id,
            Verdict.FAIL,
            f'{whose} "{observed.name}" is being deleted.',
            "Wait until it is gone (a pod that uses it holds it back), or name another claim.",
            CLAIMS,
            details(observed),
        )
    if observed.phase == "Lost":
        return Finding(
            check_id,
            Verdict.FAIL,
            f'{whose} "{observed.name}" has lost its volume (phase Lost).',
            "Make a new claim; the volume behind this one no longer exists.",
            CLAIMS,
            details(observed),
        )
    if observed.volume_mode == "Block":
        return Finding(
            check_id,
            Verdict.FAIL,
            f'{whose} "{observed.name}" has volumeMode Block: a raw device, which no pod can mount as a directory.',
            "Use a claim with volumeMode Filesystem; a claim's volume mode cannot be changed after it was made.",
            _VOLUME_MODE,
            details(observed),
        )
    return None


def details(observed: Claim) -> dict[str, object]:
    """The facts behind a finding about a claim."""
    return {
        "phase": observed.phase,
        "accessModes": list(observed.access_modes),
        "volumeMode": observed.volume_mode,
        "storageClass": observed.storage_class,
        "capacityBytes": observed.capacity_bytes,
    }

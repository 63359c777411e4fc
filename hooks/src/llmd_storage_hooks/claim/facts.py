# SPDX-License-Identifier: Apache-2.0
"""What was read of the claim and of the pods that mount it."""

from __future__ import annotations

from dataclasses import dataclass

from llmd_storage_hooks.core.kube.objects import Absent, Claim, Event, PodState, Unknown


@dataclass(frozen=True, slots=True)
class ClaimState:
    """A claim, those who are to mount it, and what was said about them."""

    claim: Claim | Absent | Unknown
    pods: tuple[PodState, ...] | Unknown
    events: tuple[Event, ...] | Unknown  # of the claim and of all pods of the namespace, oldest first

# SPDX-License-Identifier: Apache-2.0
"""What a hook's run hands back, before overrides and report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llmd_storage_hooks.core.verdicts import Finding


@dataclass(frozen=True, slots=True)
class HookResult:
    findings: list[Finding]
    numbers: Mapping[str, Any] = field(default_factory=dict)
    proof: Mapping[str, Any] | None = None
    # The probe's second pod hands its observations over and reports nothing itself.
    silent: bool = False

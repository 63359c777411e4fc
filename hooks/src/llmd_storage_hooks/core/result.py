# SPDX-License-Identifier: Apache-2.0
"""What a hook's run returns, before overrides are applied and the report is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llmd_storage_hooks.core.verdicts import Finding


@dataclass(frozen=True, slots=True)
class HookResult:
    """numbers: measurements by name, for the report. proof: its `proof` block, of the proof alone."""

    findings: list[Finding]
    numbers: Mapping[str, Any] = field(default_factory=dict)
    proof: Mapping[str, Any] | None = None
    silent: bool = False  # the probe's second pod sends its observations to the first and reports nothing itself

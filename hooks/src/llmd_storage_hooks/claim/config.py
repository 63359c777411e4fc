# SPDX-License-Identifier: Apache-2.0
"""The claim hook's configuration."""

from __future__ import annotations

from dataclasses import dataclass, field

from llmd_storage_hooks.core.config import HookConfig
from llmd_storage_hooks.core.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimConfig(HookConfig):
    """The hook's keys. claim_name: the claim to watch."""

    claim_name: str
    pod_selector: dict[str, str] = field(default_factory=dict)  # of the pods that mount it; {} = none is looked at
    timeout_seconds: float = 1800.0  # a managed filesystem may take most of it to be made
    mount_seconds: float = 300.0  # from the binding until the pods have it

    def validate(self) -> None:
        HookConfig.validate(self)
        if not self.claim_name:
            raise ConfigError("config.claimName is empty; it must name the claim to watch.")

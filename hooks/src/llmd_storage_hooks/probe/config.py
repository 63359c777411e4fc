# SPDX-License-Identifier: Apache-2.0
"""The probe's configuration."""

from __future__ import annotations

from dataclasses import dataclass, field

from llmd_storage_core.strategies import AUTO, STRATEGIES
from llmd_storage_hooks.core.config import HookConfig, one_of
from llmd_storage_hooks.core.errors import ConfigError

FLOORS = ("readMiBps", "writeMiBps")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeConfig(HookConfig):
    """The hook's keys. floors: MiB/s by FLOORS, with one file or several at once, whichever is more."""

    path: str
    deadline_seconds: float = 60.0  # each step, from its start
    publish: str = AUTO  # how the connector publishes a block; the others are measured for comparison
    direct_io: str = AUTO  # the connector's setting: auto, on or off
    floors: dict[str, float] = field(default_factory=dict)

    def validate(self) -> None:
        HookConfig.validate(self)
        one_of("config.publish", self.publish, (AUTO, *STRATEGIES))
        one_of("config.directIo", self.direct_io, (AUTO, "on", "off"))
        if self.deadline_seconds <= 0:
            raise ConfigError("config.deadlineSeconds must be more than 0.")
        for floor in self.floors:
            one_of("a key of config.floors", floor, FLOORS)

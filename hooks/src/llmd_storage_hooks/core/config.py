# SPDX-License-Identifier: Apache-2.0
"""The configuration that all hooks have in common: the chart renders it, and it can be written by hand."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, TypeVar

from llmd_storage_hooks.core import catalogue
from llmd_storage_hooks.core.decoding import decode
from llmd_storage_hooks.core.errors import ConfigError
from llmd_storage_hooks.core.verdicts import OVERRIDES


@dataclass(frozen=True, slots=True, kw_only=True)
class HookConfig:
    """Keys that every hook has."""

    release: str
    namespace: str
    report_config_map: str = ""  # "" = the report is printed only
    job_name: str = ""  # its own Job, which is told why it failed; "" = none
    checks: dict[str, str] = field(default_factory=dict)
    allow_inconclusive: bool = False
    timeout_seconds: float = 600.0  # the whole hook, from its start

    def validate(self) -> None:
        """Raises: ConfigError for the first value that cannot be used. Subclasses add the rules of their own keys."""
        for check, wanted in self.checks.items():
            if catalogue.find(check) is None:
                raise ConfigError(f'config.checks."{check}": there is no such check. {catalogue.nearest(check)}')
            one_of(f'config.checks."{check}"', wanted, OVERRIDES)
        if self.timeout_seconds <= 0:
            raise ConfigError("config.timeoutSeconds must be more than 0.")


C = TypeVar("C", bound=HookConfig)


def parse(kind: type[C], text: str) -> C:
    """JSON text to a validated configuration. Raises: ConfigError with one sentence."""
    try:
        raw = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"--config is not JSON ({error}).") from error
    return from_json(kind, raw)


def from_json(kind: type[C], raw: Any) -> C:
    """JSON data to a validated configuration. Raises: as `parse`."""
    config = decode(kind, raw)
    config.validate()
    return config


def one_of(where: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raises: ConfigError when `value` is not one of `allowed`."""
    if value not in allowed:
        raise ConfigError(f'{where} is "{value}"; it must be one of: {", ".join(allowed)}.')

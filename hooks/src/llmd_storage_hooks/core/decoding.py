# SPDX-License-Identifier: Apache-2.0
"""JSON objects to frozen dataclasses and back, in the hooks' names (camelCase) and with the hooks' errors."""

from __future__ import annotations

from typing import Any, TypeVar

from llmd_storage_core import settings
from llmd_storage_hooks.core.errors import ConfigError

T = TypeVar("T")


def decode(kind: type[T], raw: Any, where: str = "config") -> T:
    """Build `kind` from `raw`. Raises: ConfigError, a sentence that names each place and what is expected there."""
    try:
        return settings.decode(kind, raw, where=where, naming=settings.camel)
    except settings.Invalid as error:
        raise ConfigError(f"{error}.") from error


def encode(record: Any) -> dict[str, Any]:
    """A dataclass as JSON-ready data: the inverse of `decode`."""
    return settings.encode(record, naming=settings.camel)

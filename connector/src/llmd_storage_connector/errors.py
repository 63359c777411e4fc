# SPDX-License-Identifier: Apache-2.0
"""What can go wrong, sorted by what the caller does about it."""

from __future__ import annotations

from enum import Enum


class ConnectorError(Exception):
    """Base of everything this package raises on purpose."""


class Misconfigured(ConnectorError, ValueError):
    """A setting is wrong: say so and stop (or, in the tier, serve without storage)."""


class Unusable(ConnectorError):
    """The storage cannot be used now: serve without it. passing: trying again later may help."""

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


class Pending(Unusable):
    """What is needed to use storage is being found out: ask again."""

    def __init__(self, message: str) -> None:
        super().__init__(message, transient=True)


class Cancelled(ConnectorError):
    """Nobody wants this block any more: its job is past its deadline."""


class Rule(Enum):
    """Why a block file is refused. The ids are those of docs/FORMAT.md; the values label metrics."""

    LENGTH = "length"  # F1
    MAGIC = "magic"  # F2
    HEADER_CHECKSUM = "header_checksum"  # F3
    VERSION = "version"  # F4
    SHAPE = "shape"  # F5
    IDENTITY = "identity"  # F6
    KEY = "key"  # F7
    PAYLOAD_CHECKSUM = "payload_checksum"  # F8
    NOT_REGULAR = "not_regular"  # F9
    OWNER = "owner"  # F10


class Corrupt(ConnectorError):
    """A block file breaks a rule of the format: treat it as absent."""

    def __init__(self, rule: Rule, detail: str) -> None:
        super().__init__(f"{rule.value}: {detail}")
        self.rule = rule
        self.detail = detail

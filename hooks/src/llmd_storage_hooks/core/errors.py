# SPDX-License-Identifier: Apache-2.0
"""Errors by what the caller can do about them."""

from __future__ import annotations


class HooksError(Exception):
    """Base of everything this distribution raises on purpose."""


class ConfigError(HooksError):
    """The config cannot be used as it is: exit code 2, with this message as the sentence."""


class CollectError(HooksError):
    """A fact could not be read. It becomes a "Could not check" finding, never a traceback."""


class NotFound(CollectError):
    """The API server answered, and the object is not there."""


class Forbidden(CollectError):
    """The API server answered, and this ServiceAccount may not read the object."""


class Unreachable(CollectError):
    """No usable answer at all: no connection, a time-out, or no credentials."""


class Stopped(HooksError):
    """SIGTERM or SIGINT: the Job ran into its deadline or was deleted, or somebody pressed Ctrl-C."""


class DeadlinePassed(HooksError):
    """A bounded wait ended without what it waited for."""

    def __init__(self, waited_for: str, seconds: float) -> None:
        super().__init__(f"waited {seconds:.0f} s for {waited_for}")
        self.waited_for = waited_for
        self.seconds = seconds

# SPDX-License-Identifier: Apache-2.0
"""What can go wrong, sorted by what the caller does about it."""

from __future__ import annotations


class EvictorError(Exception):
    """Base of everything this package raises on purpose."""


class Misconfigured(EvictorError, ValueError):
    """A setting or an argument is wrong: say so and stop (exit code 2)."""


class Unusable(EvictorError):
    """The directory cannot be used now: say so; the evictor tries again, the command line stops."""


class NotThere(Unusable):
    """The directory is missing where it is to lie: no engine has made it yet, or its name is wrong."""


class AuthorityLost(EvictorError):
    """Another process may be the leader by now: stop removing, and stand for election again."""

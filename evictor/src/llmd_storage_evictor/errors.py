# SPDX-License-Identifier: Apache-2.0
"""Errors, by what the caller does about them."""

from __future__ import annotations


class EvictorError(Exception):
    """Base class of all errors of this package."""


class Misconfigured(EvictorError, ValueError):
    """A setting or an argument is wrong: report it and stop (exit code 2)."""


class Unavailable(EvictorError):
    """The cache directory cannot be used now: the evictor tries again, a command stops."""


class NotFound(Unavailable):
    """The cache directory does not exist: no engine has created it yet, or the path is wrong."""


class LeadershipLost(EvictorError):
    """Another process may be the leader by now: stop removing, and wait to lead again."""

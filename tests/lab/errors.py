"""What can go wrong in the lab, said in one sentence."""

from __future__ import annotations


class LabError(Exception):
    """A message for the person at the terminal: what was wrong, where, what to do."""


class Cancelled(LabError):
    """Another step failed, or the person pressed Ctrl-C: this one was stopped."""

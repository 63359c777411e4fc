# SPDX-License-Identifier: Apache-2.0
"""What a step works with, and how it waits for a file to become what it should be."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from llmd_storage_hooks.core.clock import Clock, Deadline
from llmd_storage_hooks.probe.collect.channel import FileChannel
from llmd_storage_hooks.probe.collect.files import Files

_POLL_S = 0.01


@dataclass
class Context:
    """What a step works with. `observed` collects the fields of `facts.Observations`."""

    index: int
    folder: str  # this run's directory, below the root of `files`
    files: Files
    channel: FileChannel
    clock: Clock
    strategy: str  # how the connector publishes; known once the pods have met
    observed: dict[str, Any] = field(default_factory=dict)

    def name(self, *parts: str) -> str:
        return "/".join((self.folder, *parts))


StepFunction = Callable[[Context, Deadline], None]


def poll(
    ctx: Context, name: str, judge: Callable[[bytes], str], wanted: str, deadline: Deadline
) -> tuple[str, float | None]:
    """Read `name` until `judge` says `wanted` ("missing" = no such file). Leaves a second before the deadline,
    so that the step can still report.

    Returns: the first verdict, and the seconds until the wanted one (None = it never came).
    """
    began = time.monotonic()
    first = ""
    while True:
        try:
            verdict = judge(ctx.files.read(name))
        except FileNotFoundError:
            verdict = "missing"
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
            verdict = "missing"
        first = first or verdict
        if verdict == wanted:
            return first, time.monotonic() - began
        if deadline.left() < min(1.0, deadline.seconds / 4):
            return first, None
        ctx.clock.sleep(_POLL_S)


def until(ctx: Context, holds: Callable[[], bool], deadline: Deadline, parts: int) -> float | None:
    """Seconds until it holds; None when it did not within its part of what is left of the deadline."""
    began, limit = time.monotonic(), deadline.left() / parts
    while not holds():
        if time.monotonic() - began > limit:
            return None
        ctx.clock.sleep(_POLL_S)
    return time.monotonic() - began

# SPDX-License-Identifier: Apache-2.0
"""What a step works with, and waiting for what the other pod changes."""

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
    """What a step works with.

    Thread: the step under way. `observed` collects the fields of `facts.Observations`.
    """

    index: int
    folder: str  # this run's directory, below the root of `files`
    files: Files
    channel: FileChannel
    clock: Clock
    strategy: str  # how the connector publishes; known once the pods have met
    observed: dict[str, Any] = field(default_factory=dict)

    def name(self, *parts: str) -> str:
        """A path below this run's directory."""
        return "/".join((self.folder, *parts))


StepFunction = Callable[[Context, Deadline], None]


def poll(
    ctx: Context, name: str, classify: Callable[[bytes], str], wanted: str, deadline: Deadline
) -> tuple[str, float | None]:
    """Read `name` until `classify` of its content is `wanted` ("missing" = no such file).

    Returns: the class of the first read, and the seconds until the wanted one (None = it never came). Blocks up to: a
    second before the deadline, so that the step can still report.
    """
    began = time.monotonic()
    first = ""
    while True:
        try:
            state = classify(ctx.files.read(name))
        except FileNotFoundError:
            state = "missing"
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
            state = "missing"
        first = first or state
        if state == wanted:
            return first, time.monotonic() - began
        if deadline.left() < min(1.0, deadline.seconds / 4):
            return first, None
        ctx.clock.sleep(_POLL_S)


def until(ctx: Context, holds: Callable[[], bool], deadline: Deadline, parts: int) -> float | None:
    """Seconds until `holds`; None when it does not within 1/`parts` of what is left of the deadline."""
    began, limit = time.monotonic(), deadline.left() / parts
    while not holds():
        if time.monotonic() - began > limit:
            return None
        ctx.clock.sleep(_POLL_S)
    return time.monotonic() - began

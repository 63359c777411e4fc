"""The lab for as long as tests need it, whatever state a run that was killed has left it in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.lab.paths import lab

TESTED = "tested"  # in the lab's run: tests are at work on it


def end_killed(command: Callable[..., bool]) -> None:
    """Takes away the lab that a killed run was at work on: faults, policies and half a release may be there.

    command(*words): runs `python -m tests.lab WORDS`.
    """
    if (lab().run / TESTED).exists():
        command("down")


@contextmanager
def lab_up(command: Callable[..., bool]) -> Iterator[bool]:
    """command(*words): runs `python -m tests.lab WORDS`. Yields: whether the lab is up and well.

    Afterwards the machine is as it was found: a lab that was up stays up.
    """
    mark = lab().run / TESTED
    end_killed(command)
    was_up = command("status", "--quiet")
    try:
        if well := command("up"):
            mark.touch()
        yield well
    finally:
        mark.unlink(missing_ok=True)
        if not was_up:
            command("down")

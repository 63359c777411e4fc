# SPDX-License-Identifier: Apache-2.0
"""Messages between the two pods: small files in one directory of the volume under test.

They must arrive even where the filesystem is slow to show changes, or the probe could not report that. So they are
published by the strategy that other nodes see soonest; they are found by listing, so that no name is looked up before
it exists (a client may cache "no such file" for long); and who waits creates and removes a file of its own in the
directory each second, which makes clients drop a cached listing.
"""

from __future__ import annotations

import json
from typing import Any

from llmd_storage_core.strategies import RENAME_FSYNC
from llmd_storage_hooks.core.clock import Clock, Deadline
from llmd_storage_hooks.core.errors import DeadlinePassed, HooksError
from llmd_storage_hooks.probe.collect.files import Files

ABORT = "abort"
_POLL_S = 0.02
_POLL_MAX_S = 0.2
_NUDGE_EVERY_S = 1.0


class PartnerAborted(HooksError):
    """The other pod gave up and said why."""


class FileChannel:
    """One pod's end of the channel.

    Thread: one at a time (the step under way).
    """

    def __init__(self, files: Files, folder: str, index: int, clock: Clock) -> None:
        self._files = files
        self._folder = folder
        self._index = index
        self._clock = clock

    def open(self) -> None:
        """Make the directory. Raises: OSError, as all methods."""
        self._files.mkdir(self._folder)

    def send(self, subject: str, body: Any = None) -> None:
        """Send a message. body: JSON data."""
        data = json.dumps({"body": body}).encode()
        self._files.publish(f"{self._folder}/{self._index}.{subject}", data, RENAME_FSYNC)

    def has(self, subject: str) -> bool:
        """Whether the other pod has sent `subject`, without waiting."""
        return self._name(subject) in self._files.names(self._folder)

    def receive(self, subject: str, deadline: Deadline, check_abort: bool = True) -> Any:
        """Wait for the other pod's message. check_abort: raise PartnerAborted when the other pod has given up.

        Raises: PartnerAborted, DeadlinePassed. Blocks up to: the deadline, plus one file operation.
        """
        pause, nudged = _POLL_S, self._clock.now()
        while True:
            names = self._files.names(self._folder)
            if self._name(subject) in names:
                arrived, body = self._read(subject)
                if arrived:
                    return body
            elif check_abort and self._name(ABORT) in names:
                arrived, reason = self._read(ABORT)
                if arrived:
                    raise PartnerAborted(str(reason))
            if deadline.passed():
                raise DeadlinePassed(f'the other pod\'s message "{subject}"', deadline.seconds)
            if self._clock.now() - nudged > _NUDGE_EVERY_S:
                self._nudge()
                nudged = self._clock.now()
            self._clock.sleep(pause)
            pause = min(pause * 1.3, _POLL_MAX_S)

    def meet(self, subject: str, deadline: Deadline, body: Any = None) -> Any:
        """A barrier: send and receive the same subject, so that both pods return at about the same time."""
        self.send(subject, body)
        return self.receive(subject, deadline)

    def _name(self, subject: str) -> str:
        return f"{1 - self._index}.{subject}"

    def _read(self, subject: str) -> tuple[bool, Any]:
        try:
            return True, json.loads(self._files.read(f"{self._folder}/{self._name(subject)}"))["body"]
        except (FileNotFoundError, ValueError, KeyError):
            return False, None  # listed but not readable yet: the next poll reads it

    def _nudge(self) -> None:
        name = f"{self._folder}/.nudge-{self._index}"
        try:
            self._files.create_exclusive(name)
            self._files.unlink(name)
        except FileNotFoundError:
            return

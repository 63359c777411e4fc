# SPDX-License-Identifier: Apache-2.0
"""Who may touch a job's rows: any number of threads at once, until the gate is closed; nobody after that."""

from __future__ import annotations

import threading
from typing import Protocol


class Gate(Protocol):
    """See the module's head. Thread: any. copied: bytes that were copied into the rows, all threads together.

    began: monotonic seconds at which a thread first had something to do with the rows; None: not yet.
    """

    @property
    def copied(self) -> int: ...
    @property
    def began(self) -> float | None: ...

    def begin(self, now: float) -> None:
        """A thread has something to do with the rows."""
        ...

    def enter(self) -> bool:
        """Whether the rows may be touched until leave(), which is then required."""
        ...

    def leave(self, copied: int = 0) -> None:
        """The rows are not touched any more by this thread, which has copied so many bytes into them."""
        ...

    def close(self) -> bool:
        """Nobody enters any more. Returns: whether nobody is inside either. May be called again, to learn that."""
        ...


class LockedGate:
    """A Gate in Python."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._closed = False
        self.copied = 0
        self.began: float | None = None

    def begin(self, now: float) -> None:
        """See Gate.begin."""
        with self._lock:
            self.began = now if self.began is None else self.began

    def enter(self) -> bool:
        """See Gate.enter."""
        with self._lock:
            self._inside += not self._closed
            return not self._closed

    def leave(self, copied: int = 0) -> None:
        """See Gate.leave."""
        with self._lock:
            self._inside -= 1
            self.copied += copied

    def close(self) -> bool:
        """See Gate.close."""
        with self._lock:
            self._closed = True
            return self._inside == 0

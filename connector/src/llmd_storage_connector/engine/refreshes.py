# SPDX-License-Identifier: Apache-2.0
"""Blocks that were read and are to be marked as used: each once, and no more than storage keeps up with."""

from __future__ import annotations

import threading

# Beyond that a block is left out; it is read again, or it is not used.
MOST = 10_000


class Refreshes:
    """A queue without doubles. Thread: any (one lock, held for a dictionary operation)."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._keys: dict[bytes, None] = {}
        self._closed = False
        self._changed = threading.Condition()

    def add(self, key: bytes) -> None:
        """Note the block, unless it is noted already or there are too many."""
        with self._changed:
            if len(self._keys) < self._most:
                self._keys[key] = None
                self._changed.notify()

    def next(self, timeout_s: float) -> bytes | None:
        """The oldest one, waiting for it; None at the timeout, and once close() is called."""
        with self._changed:
            self._changed.wait_for(lambda: self._keys or self._closed, timeout_s)
            if not self._keys or self._closed:
                return None
            key = next(iter(self._keys))
            del self._keys[key]
            return key

    def close(self) -> None:
        """End every next(). What is left stays unmarked."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

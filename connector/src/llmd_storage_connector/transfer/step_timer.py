# SPDX-License-Identifier: Apache-2.0
"""How long the engine's steps take, seen from its scheduler. Pure: times come in as numbers.

A step begins when the scheduler hands it out and ends when its output comes back. Several may be on their way; the
time that one costs is what passed since it began and since the one before it ended, whichever was later.

Thread: the scheduler's.
"""

from __future__ import annotations

from collections import deque

# More on their way than any engine has: ends get lost, so what is left means nothing.
_MOST = 8


class StepTimer:
    """See the module's head."""

    def __init__(self) -> None:
        self._begun: deque[tuple[int, float]] = deque()
        self._last_end = float("-inf")

    def begin(self, tokens: int, now: float) -> None:
        """A step over so many tokens was handed out."""
        if len(self._begun) >= _MOST:
            self._begun.clear()
        self._begun.append((tokens, now))

    def end(self, now: float) -> tuple[int, float] | None:
        """The oldest step came back: its tokens, and the seconds it took. None when none was on its way."""
        if not self._begun:
            return None
        tokens, began = self._begun.popleft()
        seconds = now - max(began, self._last_end)
        self._last_end = now
        return tokens, seconds

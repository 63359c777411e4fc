# SPDX-License-Identifier: Apache-2.0
"""Whether work goes on: what /healthz answers from, and what is said when it does not."""

from __future__ import annotations

import time
from collections.abc import Callable


class Progress:
    """Time of the last sign of life, and what was being done then.

    Thread: any; both fields are replaced whole.
    """

    def __init__(self, stall_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._stall_s = clock, stall_s
        self._at, self.doing = clock(), "starting"

    def note(self, doing: str = "") -> None:
        """Something was answered; `doing` is what comes next, when it changes."""
        self._at = self._clock()
        if doing:
            self.doing = doing

    def age_s(self) -> float:
        """Seconds since the last sign of life."""
        return self._clock() - self._at

    def stalled(self) -> bool:
        """Whether that is too long ago."""
        return self.age_s() > self._stall_s

# SPDX-License-Identifier: Apache-2.0
"""Whether work makes progress: what /healthz answers from."""

from __future__ import annotations

import time
from collections.abc import Callable


class Liveness:
    """Time of the last progress, and the activity since then.

    Thread: any; both fields are replaced whole.
    """

    def __init__(self, stall_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._stall_s = clock, stall_s
        self._at, self.activity = clock(), "starting"

    def update(self, activity: str = "") -> None:
        """Progress was made. activity: what comes next, when it changes."""
        self._at = self._clock()
        if activity:
            self.activity = activity

    def age_s(self) -> float:
        """Seconds since the last progress."""
        return self._clock() - self._at

    def stalled(self) -> bool:
        """Whether that is more than stall_s."""
        return self.age_s() > self._stall_s

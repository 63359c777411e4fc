# SPDX-License-Identifier: Apache-2.0
"""When to look again, and which free space to believe. Pure."""

from __future__ import annotations

from llmd_storage_evictor.config import Config

# A look costs CPU and round trips: at most half of the time is spent on it.
_SHORTEST_S = 0.1
# Looks until the room is used up at the present rate: a rate may double between two of them.
_LOOKS = 4


class Pace:
    """The faster the cache grows towards its limits, the sooner it is looked at again. Thread: one."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._last: tuple[float, int, int] | None = None  # when, bytes held then, bytes free then

    def wait_s(self, began: float, ended: float, grown: int, left: int, free: int) -> float:
        """Seconds to wait after a round.

        grown: bytes held when the round began, before anything was removed; left: when it ended; free: then.
        """
        last, self._last = self._last, (began, left, free)
        wait_s = self._config.poll_s
        if last is not None and began > last[0]:
            room = self._config.budget_bytes * self._config.high_watermark - left
            wait_s = min(wait_s, _until(room, (grown - last[1]) / (began - last[0])))
            if self._config.free_floor_bytes:
                wait_s = min(wait_s, _until(free - self._config.free_floor_bytes, (last[2] - free) / (began - last[0])))
        return max(wait_s, _SHORTEST_S, min(ended - began, self._config.poll_s))


def _until(room: float, rate: float) -> float:
    """Seconds in which a part of the room is used up at this rate (bytes a second)."""
    return max(0.0, room) / rate / _LOOKS if rate > 0 else float("inf")


class Settling:
    """Free space that removal has made, but that the filesystem does not show yet (CephFS frees in the background).

    Without it a removal that shows late would be done twice. Thread: one.
    """

    SETTLED_S = 10.0

    def __init__(self) -> None:
        self._since: float | None = None
        self._free_then = self._removed = 0

    def removed(self, now: float, free_before: int, size: int) -> None:
        """Count bytes just removed; free_before: what was shown before that."""
        if self._since is None or now - self._since > self.SETTLED_S:
            self._since, self._free_then, self._removed = now, free_before, 0
        self._removed += size

    def counted(self, now: float, shown: int) -> int:
        """Free bytes with those counted in that are on their way."""
        if self._since is None or now - self._since > self.SETTLED_S:
            return shown
        return max(shown, self._free_then + self._removed)

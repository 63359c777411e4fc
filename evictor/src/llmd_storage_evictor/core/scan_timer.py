# SPDX-License-Identifier: Apache-2.0
"""When to look again, and which free space to believe. Pure."""

from __future__ import annotations

from llmd_storage_evictor.config import Config

_SHORTEST_S = 0.1
# Looks until the room is used up: the rate may double between two of them.
_LOOKS = 4
# What is written while one looks and removes, on a busy machine.
_REACTION_S = 0.5
# Share of a core that looking may cost while nothing grows.
_IDLE_SHARE = 0.03


class Pace:
    """The sooner the room for growth could be used up, the sooner the cache is looked at again. Thread: one."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._last: tuple[float, int, int] | None = None  # when, bytes held then, bytes free then

    def is_due(self, began: float, grown: int) -> bool:
        """Whether removal should begin now, since the high watermark is passed before it could show effect."""
        if self._last is None or began <= self._last[0]:
            return False
        rate = (grown - self._last[1]) / (began - self._last[0])
        return grown + rate * _REACTION_S > self._config.budget_bytes * self._config.high_watermark

    def wait_s(self, *, began: float, look_s: float, cpu_s: float, grown: int, left: int, free: int) -> float:
        """Seconds to wait after a round.

        began: monotonic. look_s, cpu_s: what the look took, of time and of a core. grown: bytes held when it began,
        before anything was removed; left: when the round ended; free: then.
        """
        last, self._last = self._last, (began, left, free)
        room = self._config.budget_bytes * self._config.high_watermark - left
        # What might come at once is waited for as closely as is cheap; what does come, as closely as it takes.
        wait_s = max(_until(room, self._config.burst_bytes_s), cpu_s / _IDLE_SHARE, _SHORTEST_S)
        if last is not None and began > last[0]:
            seen_s = _until(room, (grown - last[1]) / (began - last[0]))
            if self._config.free_floor_bytes:
                seen_s = min(seen_s, _until(free - self._config.free_floor_bytes, (last[2] - free) / (began - last[0])))
            wait_s = min(wait_s, max(seen_s, look_s, _SHORTEST_S))
        return min(wait_s, self._config.poll_s)


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

# SPDX-License-Identifier: Apache-2.0
"""When to scan again. Pure."""

from __future__ import annotations

from llmd_storage_evictor.config import Config
from llmd_storage_evictor.core.policy import high_mark, takeover_room

_MIN_WAIT_S = 0.1
# Scans until the room is used up: the write rate may double between two of them.
_SCANS_UNTIL_FULL = 4
# How much is written while a scan and a removal run on a busy machine, in seconds of the write rate.
_REACTION_S = 0.5
# Share of a core that scanning may cost while nothing grows.
_IDLE_CPU_SHARE = 0.03
# A single block within a tenth of a second is no rate.
_MEASURED_OVER_S = 5.0
_HALF_LIFE_S = 600.0


class ScanTimer:
    """The sooner the cache could be full, the sooner it is scanned again. Thread: one.

    urgent: whether what grows is seen by scans alone, and so fast that they must see all of it whatever they cost.
    growth: how fast that is.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self.urgent = False
        self.growth = Growth()
        self._last: tuple[float, int, int] | None = None  # when it began, held bytes and free bytes at its end

    @property
    def takeover_bytes(self) -> int:
        """Room for what is written while one leader follows another."""
        return takeover_room(self._config.effective_budget_bytes, self.growth.bytes_s)

    def _mark(self) -> int:
        return high_mark(self._config, self._config.effective_budget_bytes, self.takeover_bytes)

    def should_remove(self, began: float, held_bytes: int) -> bool:
        """Whether to start removing now, since at the current write rate the high watermark is passed before a removal
        takes effect. began: of this scan, monotonic.
        """
        if self._last is None or began <= self._last[0]:
            return False
        rate = (held_bytes - self._last[1]) / (began - self._last[0])
        return held_bytes + rate * _REACTION_S > self._mark()

    def wait_s(
        self,
        *,
        began: float,
        scan_s: float,
        cpu_s: float,
        held_before: int,
        held_after: int,
        free_bytes: int,
        paid_s: float = 0.0,
        reported: bool = False,
        looked: bool = True,
    ) -> float:
        """Seconds until the next scan.

        began: of this scan, monotonic. scan_s, cpu_s: its wall and CPU time. held_before, held_after: bytes in the
        cache at the scan, and after removal. free_bytes: of the filesystem, after removal. paid_s: seconds until the
        next scan can be paid (ScanPlan.wait_s). reported: whether engines report what they write. looked: whether
        there was a scan: without, that nothing has grown says nothing.
        """
        if not looked:
            room = self._mark() - held_after
            return min(max(_until_full(room, self._config.burst_bytes_s), paid_s, _MIN_WAIT_S), self._config.poll_s)
        last, self._last = self._last, (began, held_after, free_bytes)
        if last is not None:
            self.growth.add(began - last[0], 0 if reported else held_before - last[1])
        room = self._mark() - held_after
        # A burst that might come is anticipated as closely as is cheap; growth that is seen, as closely as it takes.
        wait_s = max(_until_full(room, self._config.burst_bytes_s), cpu_s / _IDLE_CPU_SHARE, paid_s, _MIN_WAIT_S)
        self.urgent = False
        if last is not None and began > last[0]:
            elapsed_s = began - last[0]
            growth_s = _until_full(room, (held_before - last[1]) / elapsed_s)
            if self._config.effective_free_floor_bytes:
                above_floor = free_bytes - self._config.effective_free_floor_bytes
                growth_s = min(growth_s, _until_full(above_floor, (last[2] - free_bytes) / elapsed_s))
            self.urgent = not reported and growth_s < max(self._config.poll_s, paid_s)
            wait_s = min(wait_s, max(growth_s, scan_s, _MIN_WAIT_S))
        return min(wait_s, self._config.poll_s)


class Growth:
    """How fast the cache has grown of late, by writers that no grant limits. bytes_s: fastest, forgotten by half in
    _HALF_LIFE_S.
    """

    def __init__(self) -> None:
        self.bytes_s = 0.0
        self._seconds, self._bytes = 0.0, 0

    def add(self, seconds: float, grown: int) -> None:
        """What was found in a scan, and the time since the one before."""
        self._seconds, self._bytes = self._seconds + seconds, self._bytes + grown
        if self._seconds >= _MEASURED_OVER_S:
            self.bytes_s = max(self._bytes / self._seconds, self.bytes_s * 0.5 ** (self._seconds / _HALF_LIFE_S))
            self._seconds, self._bytes = 0.0, 0


def _until_full(room: float, rate: float) -> float:
    """Seconds in which the room shrinks by 1 / _SCANS_UNTIL_FULL at this rate (bytes a second)."""
    return max(0.0, room) / rate / _SCANS_UNTIL_FULL if rate > 0 else float("inf")

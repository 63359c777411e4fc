# SPDX-License-Identifier: Apache-2.0
"""When to scan again. Pure."""

from __future__ import annotations

from llmd_storage_evictor.config import Config

_MIN_WAIT_S = 0.1
# Scans until the room is used up: the write rate may double between two of them.
_SCANS_UNTIL_FULL = 4
# How much is written while a scan and a removal run on a busy machine, in seconds of the write rate.
_REACTION_S = 0.5
# Share of a core that scanning may cost while nothing grows.
_IDLE_CPU_SHARE = 0.03


class ScanTimer:
    """The sooner the cache could be full, the sooner it is scanned again. Thread: one.

    urgent: whether what grows is seen by scans alone, and so fast that they must see all of it whatever they cost.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self.urgent = False
        self._last: tuple[float, int, int] | None = None  # when it began, held bytes and free bytes at its end

    def should_remove(self, began: float, held_bytes: int) -> bool:
        """Whether to start removing now, since at the current write rate the high watermark is passed before a removal
        takes effect. began: of this scan, monotonic.
        """
        if self._last is None or began <= self._last[0]:
            return False
        rate = (held_bytes - self._last[1]) / (began - self._last[0])
        return held_bytes + rate * _REACTION_S > self._config.effective_budget_bytes * self._config.high_watermark

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
    ) -> float:
        """Seconds until the next scan.

        began: of this scan, monotonic. scan_s, cpu_s: its wall and CPU time. held_before, held_after: bytes in the
        cache at the scan, and after removal. free_bytes: of the filesystem, after removal. paid_s: seconds until the
        next scan can be paid (ScanPlan.wait_s). reported: whether engines report what they write.
        """
        last, self._last = self._last, (began, held_after, free_bytes)
        room = self._config.effective_budget_bytes * self._config.high_watermark - held_after
        # A burst that might come is anticipated as closely as is cheap; growth that is seen, as closely as it takes.
        wait_s = max(_until_full(room, self._config.burst_bytes_s), cpu_s / _IDLE_CPU_SHARE, paid_s, _MIN_WAIT_S)
        self.urgent = False
        if last is not None and began > last[0]:
            elapsed_s = began - last[0]
            growth_s = _until_full(room, (held_before - last[1]) / elapsed_s)
            if self._config.effective_free_floor_bytes:
                above_floor = free_bytes - self._config.effective_free_floor_bytes
                growth_s = min(growth_s, _until_full(above_floor, (last[2] - free_bytes) / elapsed_s))
            self.urgent = not reported and growth_s < self._config.poll_s
            wait_s = min(wait_s, max(growth_s, scan_s, _MIN_WAIT_S))
        return min(wait_s, self._config.poll_s)


def _until_full(room: float, rate: float) -> float:
    """Seconds in which the room shrinks by 1 / _SCANS_UNTIL_FULL at this rate (bytes a second)."""
    return max(0.0, room) / rate / _SCANS_UNTIL_FULL if rate > 0 else float("inf")

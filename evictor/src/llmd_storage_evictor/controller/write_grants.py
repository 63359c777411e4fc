# SPDX-License-Identifier: Apache-2.0
"""Reads what engines report, and publishes how much each may write (files: docs/evictor.md)."""

from __future__ import annotations

import logging

from llmd_storage_connector.telemetry.rate_limited_log import RateLimitedLog
from llmd_storage_evictor.cache import names, state_files
from llmd_storage_evictor.cache.engine_reports import EngineReports
from llmd_storage_evictor.config import Config
from llmd_storage_evictor.controller.context import Context
from llmd_storage_evictor.core import grants
from llmd_storage_evictor.core.grants import EngineReport

logger = logging.getLogger(__name__)

# Engines ignore grants that were not renewed for 60 s: then there is no evictor.
_RENEW_S = 10.0
_IDLE_INTERVAL_S = 1.0
_BUSY_INTERVAL_S = 0.2


class WriteGrants:
    """The grants of all engines; core.grants has the rules. Thread: one (the controller's)."""

    def __init__(self, config: Config, context: Context, reader: EngineReports, log: RateLimitedLog) -> None:
        self._config, self._context, self._reader, self._log = config, context, reader, log
        self._reports: dict[str, EngineReport] = {}
        # Also of engines that are gone, until a sweep has seen what they wrote.
        self._known: dict[str, EngineReport] = {}
        self._written_at_scan: dict[str, int] = {}
        self._written_at_sweep: dict[str, int] = {}
        self._limits: dict[str, int] = {}
        self._published_at = float("-inf")
        self.interval_s = _IDLE_INTERVAL_S
        self.has_shortage = False

    def open(self) -> None:
        """Load the grants of the last leader. Raises: OSError."""
        self._limits = state_files.load_limits(self._context.directory)

    def before_scan(self) -> None:
        """Read what engines have reported: a sweep that begins now will see it. Raises: OSError."""
        self._read()

    def after_scan(self, *, began: bool, whole: bool) -> None:
        """began: whether this scan has begun a sweep. whole: whether it has ended one: then what was reported before it
        is in the index.
        """
        if began:
            self._written_at_sweep = {name: one.written for name, one in self._known.items()}
        if whole:
            self._written_at_scan = self._written_at_sweep
            self._known = {
                name: one
                for name, one in self._known.items()
                if name in self._reports or one.written > self._written_at_scan.get(name, 0)
            }

    @property
    def unlisted_bytes(self) -> int:
        """Reported since the last whole sweep began."""
        return grants.written_since_scan(self._written_at_scan, self._known)

    @property
    def reported(self) -> bool:
        """Whether engines report what they write."""
        return bool(self._reports)

    def engine_time(self) -> float | None:
        """EngineReports.engine_time()."""
        return self._reader.engine_time()

    def update(self, held_bytes: int) -> int:
        """Raise limits as far as there is room. held_bytes: at the last scan, less what was removed since.

        Returns: bytes held by now, as far as engines report. Raises: OSError.
        """
        self._read()
        gone = {name: one for name, one in self._known.items() if name not in self._reports}
        held = held_bytes + grants.written_since_scan(self._written_at_scan, gone)
        granted = grants.limits(self._config, held, self._written_at_scan, self._reports, self._limits)
        low = grants.runs_low(self._config, self._reports, self._limits)
        now = self._context.clock()
        engines_changed = set(granted) != set(self._limits)
        if (low and granted != self._limits) or engines_changed or now - self._published_at > _RENEW_S:
            self._publish(granted)
            self._published_at = now
        self.has_shortage = grants.has_shortage(self._reports, self._limits)
        self.interval_s = _BUSY_INTERVAL_S if low or self.has_shortage else _IDLE_INTERVAL_S
        self._context.metrics.reporting_engines.set(len(self._reports))
        self._context.metrics.write_grant_shortage.set(self.has_shortage)
        return held_bytes + self.unlisted_bytes

    def reserved_bytes(self) -> int:
        """Bytes of the budget to keep free for what engines may write, and want to write."""
        return grants.reserved_bytes(self._config, self._reports, self._limits)

    def _read(self) -> None:
        self._reports = self._reader.read()
        self._known = {**self._known, **self._reports}

    def _publish(self, granted: dict[str, int]) -> None:
        if not self._context.may_remove():
            return
        # Even a write that fails counts: engines may have read the file before its end failed.
        self._limits = granted
        self._context.directory.make_state_folder(names.WRITERS_FOLDER)
        try:
            state_files.save_limits(self._context.directory, grants.new_engine_bytes(self._config), granted)
        except OSError as error:
            self._log.log(logging.WARNING, "grants", "write grants cannot be published: %s", error)

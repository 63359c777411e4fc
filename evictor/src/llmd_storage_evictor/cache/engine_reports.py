# SPDX-License-Identifier: Apache-2.0
"""What running engines report: `.evictor/writers/<id>` (format: docs/evictor.md)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

from llmd_storage_evictor.cache import names
from llmd_storage_evictor.cache.directory import CacheDirectory, read_file
from llmd_storage_evictor.core.grants import EngineReport

_MAX_REPORT_BYTES = 4096
# Engines report every 20 s, and stop writing when they could not report for 60 s.
_DEAD_AFTER_S = 90.0


class EngineReports:
    """The latest report of each running engine. Thread: one."""

    def __init__(self, directory: CacheDirectory, may_remove: Callable[[], bool], clock: Callable[[], float]) -> None:
        self._directory, self._may_remove, self._clock = directory, may_remove, clock
        self._reports: dict[str, EngineReport] = {}
        self._changed: dict[str, tuple[int, float]] = {}  # mtime of a report, and when it was first seen

    def read(self) -> dict[str, EngineReport]:
        """Reports by engine. Those of dead engines are removed; one that cannot be parsed changes nothing.

        Raises: OSError.
        """
        try:
            with self._directory.folder(names.STATE_FOLDER, names.WRITERS_FOLDER) as fd:
                present = [name for name in os.listdir(fd) if names.is_engine_id(name)]
                running = [name for name in present if self._read_one(fd, name)]
        except (FileNotFoundError, NotADirectoryError):
            running = []
        self._reports = {name: one for name, one in self._reports.items() if name in running}
        self._changed = {name: one for name, one in self._changed.items() if name in running}
        return self._reports

    def engine_time(self) -> float | None:
        """What time it is by the clocks of the engines that report, in seconds since 1970; None: none does."""
        now = self._clock()
        return max((mtime_ns / 1e9 + now - seen_at for mtime_ns, seen_at in self._changed.values()), default=None)

    def _read_one(self, folder: int, name: str) -> bool:
        """Whether the engine is running and has a report."""
        try:
            mtime_ns = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime_ns
            known = self._changed.get(name)
            if known is None or mtime_ns != known[0]:
                self._changed[name] = (mtime_ns, self._clock())
            elif self._clock() - known[1] > _DEAD_AFTER_S:
                if self._may_remove():
                    os.unlink(name, dir_fd=folder)
                return False
            found = json.loads(read_file(folder, name, _MAX_REPORT_BYTES))
            self._reports[name] = EngineReport(int(found["written"]), int(found["waiting"]))
        except FileNotFoundError:
            return False
        except (ValueError, KeyError, TypeError):
            return name in self._reports
        return True

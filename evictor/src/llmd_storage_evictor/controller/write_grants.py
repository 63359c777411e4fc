# SPDX-License-Identifier: Apache-2.0
"""Reads what engines write, and tells them how much they may (docs/evictor.md has the files).

Thread: one (the round's).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
from typing import Any

from llmd_storage_connector.quiet import Quiet
from llmd_storage_evictor.cache import names
from llmd_storage_evictor.cache.directory import read_file, replace_file
from llmd_storage_evictor.config import Config
from llmd_storage_evictor.controller.eviction import Parts
from llmd_storage_evictor.core import grants
from llmd_storage_evictor.core.grants import Writer

logger = logging.getLogger(__name__)

ROOM = "room.json"
WRITERS = "writers"
_ID = re.compile(r"[0-9a-f]{12}")
_REPORT_BYTES = 4096
_ROOM_BYTES = 16 << 20
# Engines report every 20 s, and write nothing once they could not for 60 s.
_DEAD_S = 90.0
# Engines take a file that is not renewed for 60 s for an abandoned one.
_RENEW_S = 10.0
_IDLE_S = 1.0
_BUSY_S = 0.2


class Admission:
    """See granting.py for what is granted."""

    def __init__(self, config: Config, parts: Parts, quiet: Quiet) -> None:
        self._config, self._directory, self._clock, self._quiet = config, parts.directory, parts.clock, quiet
        self._may, self._metrics = parts.may_remove, parts.metrics
        self._writers: dict[str, Writer] = {}
        self._changed: dict[str, tuple[int, float]] = {}  # mtime of a report, and when that was seen first
        self._seen: dict[str, int] = {}
        self._limits: dict[str, int] = {}
        self._told_at = float("-inf")
        self.every_s = _IDLE_S
        self.is_short = False

    def open(self) -> None:
        """Learn what the last leader granted. Raises: OSError."""
        try:
            with self._directory.folder(names.STATE_FOLDER) as fd:
                found = json.loads(read_file(fd, ROOM, _ROOM_BYTES))["room"]["limits"]
            self._limits = {name: int(limit) for name, limit in found.items() if _ID.fullmatch(name)}
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            self._limits = {}

    def look_begins(self) -> None:
        """What is reported now will be seen by the look that follows. Raises: OSError."""
        self._read()
        self._seen = {name: one.written for name, one in self._writers.items()}

    def attend(self, held: int) -> int:
        """Grant what can be granted. held: bytes as of the last look, less what was removed since.

        Returns: bytes held by now, as far as engines tell. Raises: OSError.
        """
        self._read()
        granted = grants.limits(self._config, held, self._seen, self._writers, self._limits)
        low = grants.runs_low(self._config, self._writers, self._limits)
        now = self._clock()
        if (low and granted != self._limits) or set(granted) != set(self._limits) or now - self._told_at > _RENEW_S:
            self._tell(granted)
            self._told_at = now
        self.is_short = grants.short(self._writers, self._limits)
        self.every_s = _BUSY_S if low or self.is_short else _IDLE_S
        self._metrics.writers.set(len(self._writers))
        self._metrics.short.set(self.is_short)
        return held + grants.unseen(self._seen, self._writers)

    def room_wanted(self) -> int:
        """Bytes of the budget to be left free for what engines may write and want to write."""
        return grants.room_wanted(self._config, self._writers, self._limits)

    def _tell(self, granted: dict[str, int]) -> None:
        """Once it is written, it counts: engines may have read it even if the end of writing failed."""
        if not self._may():
            return
        content: dict[str, Any] = {"newcomer": grants.newcomer_bytes(self._config), "limits": granted}
        self._limits = granted
        self._directory.make_state_folder(WRITERS)
        try:
            with self._directory.folder(names.STATE_FOLDER) as fd:
                replace_file(fd, ROOM, [json.dumps({"version": 1, "room": content}).encode() + b"\n"])
        except OSError as error:
            self._quiet.log(logging.WARNING, "room", "engines cannot be told how much they may write: %s", error)

    def _read(self) -> None:
        """Reports of living engines; those of dead ones are removed. A report that makes no sense changes nothing."""
        try:
            with self._directory.folder(names.STATE_FOLDER, WRITERS) as fd:
                present = [name for name in os.listdir(fd) if _ID.fullmatch(name)]
                living = [name for name in present if self._read_one(fd, name)]
        except (FileNotFoundError, NotADirectoryError):
            living = []
        self._writers = {name: one for name, one in self._writers.items() if name in living}
        self._changed = {name: one for name, one in self._changed.items() if name in living}

    def _read_one(self, folder: int, name: str) -> bool:
        try:
            stamp = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime_ns
            known = self._changed.get(name)
            if known is None or stamp != known[0]:
                self._changed[name] = (stamp, self._clock())
            elif self._clock() - known[1] > _DEAD_S:
                if self._may():
                    os.unlink(name, dir_fd=folder)
                return False
            found = json.loads(read_file(folder, name, _REPORT_BYTES))
            self._writers[name] = Writer(int(found["written"]), int(found["waiting"]))
        except FileNotFoundError:
            return False
        except (ValueError, KeyError, TypeError):
            with contextlib.suppress(KeyError):
                return bool(self._writers[name])
            return False
        return True

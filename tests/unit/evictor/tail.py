# SPDX-License-Identifier: Apache-2.0
"""A reader of the whole journal, with reasons and times (what engines read of it: eviction.invalidation_feed)."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass

from llmd_storage_evictor.cache import names
from llmd_storage_evictor.cache.directory import READ, CacheDirectory
from llmd_storage_evictor.cache.journal import FILE_NAME, FOLDER


@dataclass(frozen=True, slots=True)
class Record:
    """One line. keys: hex."""

    at: float
    namespace: str
    reason: str
    keys: tuple[str, ...]


class Tail:
    """The reader's end: what was appended since the last call. Thread: one."""

    def __init__(self, directory: CacheDirectory, from_start: bool = False) -> None:
        self._directory = directory
        self._offsets: dict[str, int] = {}
        self._skip = not from_start

    def read(self) -> list[Record]:
        """New records in order of files and lines. Raises: OSError, but an empty list where there is no journal."""
        try:
            with self._directory.folder(names.STATE_FOLDER, FOLDER) as fd:
                present = sorted(filter(FILE_NAME.fullmatch, os.listdir(fd)))
                self._offsets = {name: at for name, at in self._offsets.items() if name in present}
                records = [record for name in present for record in self._read(fd, name)]
        except (FileNotFoundError, NotADirectoryError):
            records = []
        skipped, self._skip = self._skip, False
        return [] if skipped else records

    def _read(self, folder: int, name: str) -> Iterator[Record]:
        try:
            fd = os.open(name, READ, dir_fd=folder)
        except FileNotFoundError:
            return
        with open(fd, "rb") as file:
            file.seek(self._offsets.get(name, 0))
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._offsets[name] = self._offsets.get(name, 0) + len(line)
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    found = json.loads(line)
                    yield Record(float(found["at"]), found["namespace"], found["reason"], tuple(found["keys"]))

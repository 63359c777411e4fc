# SPDX-License-Identifier: Apache-2.0
"""The journal of removals, for engines that remember which blocks exist (format: docs/evictor.md).

`.evictor/journal/<milliseconds>-<writer>.jsonl`: each writer appends to a file of its own and starts a new one when
it is large; the oldest files go when all together exceed the size limit. One line for each reason and up to 256 blocks:

    {"at": 1764064800.1, "namespace": "<32 hex>", "reason": "budget", "keys": ["<hex>", ...]}

A line without its line feed is unfinished, and readers ignore it. Engines read the journal
(llmd_storage_connector.eviction.invalidation_feed).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator

from llmd_storage_evictor.cache import names
from llmd_storage_evictor.cache.directory import CREATE, FILE_MODE, CacheDirectory

FOLDER = "journal"
MAX_KEYS_PER_LINE = 256
_PARTS = 4  # number of files that share the size limit
FILE_NAME = re.compile(r"\d{13}-[0-9a-f]{12}\.jsonl")


class Journal:
    """Thread: one."""

    def __init__(
        self, directory: CacheDirectory, limit_bytes: int, wall_clock: Callable[[], float] = time.time
    ) -> None:
        self._directory, self._limit, self._now = directory, limit_bytes, wall_clock
        self._name, self._written = "", 0
        self._writer = secrets.token_hex(6)

    def append(self, namespace: str, reason: str, keys: Iterable[str]) -> None:
        """Record that these blocks were removed. keys: hex. Raises: OSError (a full disk); readers then see a miss."""
        lines = list(_lines(self._now(), namespace, reason, list(keys)))
        if not lines:
            return
        data = "".join(lines).encode()
        self._directory.make_state_folder(FOLDER)
        with self._directory.folder(names.STATE_FOLDER, FOLDER) as fd:
            flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            if not self._name or self._written + len(data) > self._limit // _PARTS:
                self._name, self._written = f"{int(self._now() * 1000):013d}-{self._writer}.jsonl", 0
                flags = CREATE | os.O_APPEND
                _trim(fd, self._limit - self._limit // _PARTS)
            try:
                file = os.open(self._name, flags, FILE_MODE, dir_fd=fd)
            except (FileNotFoundError, FileExistsError):
                self._name = ""  # trimmed by another writer, or two files in one millisecond: start a new one
                return
            try:
                # A short write leaves an unfinished line, which readers ignore: start a new file after it.
                if os.write(file, data) != len(data):
                    self._name = ""
                # No fsync: it would slow removal while the disk is busiest, and a lost line costs a reader one miss.
                self._written += len(data)
            finally:
                os.close(file)


def _lines(now: float, namespace: str, reason: str, keys: list[str]) -> Iterator[str]:
    for start in range(0, len(keys), MAX_KEYS_PER_LINE):
        record = {"at": round(now, 3), "namespace": namespace, "reason": reason}
        yield json.dumps(record | {"keys": keys[start : start + MAX_KEYS_PER_LINE]}, separators=(",", ":")) + "\n"


def _trim(fd: int, limit: int) -> None:
    """Remove the oldest files until the others fit."""
    sizes = {}
    for name in sorted(filter(FILE_NAME.fullmatch, os.listdir(fd)), reverse=True):
        with contextlib.suppress(FileNotFoundError):
            sizes[name] = os.stat(name, dir_fd=fd, follow_symlinks=False).st_size
    total = 0
    for name, size in sizes.items():
        total += size
        if total > limit:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=fd)

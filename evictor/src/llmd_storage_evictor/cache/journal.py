# SPDX-License-Identifier: Apache-2.0
"""What was removed, for those who remember what was there (docs/evictor.md has the format).

`.evictor/journal/<milliseconds>-<writer>.jsonl`: one file a writer, appended to; a new one when it is large; the
oldest go when all together exceed their bound. One line for each reason and at most 256 blocks of a namespace:

    {"at": 1764064800.1, "namespace": "<32 hex>", "reason": "budget", "keys": ["<hex>", ...]}

A line without its line feed is still being written, or never will be finished: it is not read. Engines read it
(llmd_storage_connector.notices).
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
from llmd_storage_evictor.cache.directory import CREATE, FILE_MODE, Tree

FOLDER = "journal"
KEYS_A_LINE = 256
_PARTS = 4  # files that the bound is divided into
FILE_NAME = re.compile(r"\d{13}-[0-9a-f]{12}\.jsonl")


class Journal:
    """Thread: one."""

    def __init__(self, tree: Tree, bound_bytes: int, wall_clock: Callable[[], float] = time.time) -> None:
        self._tree, self._bound, self._now = tree, bound_bytes, wall_clock
        self._name, self._written = "", 0
        self._writer = secrets.token_hex(6)

    def append(self, namespace: str, reason: str, keys: Iterable[str]) -> None:
        """Tell that these blocks are gone. Raises: OSError (a full disk); readers then find out by a miss."""
        lines = list(_lines(self._now(), namespace, reason, list(keys)))
        if not lines:
            return
        data = "".join(lines).encode()
        self._tree.state_folder(FOLDER)
        with self._tree.folder(names.STATE_FOLDER, FOLDER) as fd:
            flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            if not self._name or self._written + len(data) > self._bound // _PARTS:
                self._name, self._written = f"{int(self._now() * 1000):013d}-{self._writer}.jsonl", 0
                flags = CREATE | os.O_APPEND
                _trim(fd, self._bound - self._bound // _PARTS)
            try:
                file = os.open(self._name, flags, FILE_MODE, dir_fd=fd)
            except (FileNotFoundError, FileExistsError):
                self._name = ""  # trimmed by another writer, or two files within a millisecond: the next gets a new one
                return
            try:
                # Whole lines or a line that readers skip: after a short write this file is not used again.
                if os.write(file, data) != len(data):
                    self._name = ""
                # No fsync: it would hold removal up while the disk is busiest, and a lost line costs a reader a miss.
                self._written += len(data)
            finally:
                os.close(file)


def _lines(now: float, namespace: str, reason: str, keys: list[str]) -> Iterator[str]:
    for start in range(0, len(keys), KEYS_A_LINE):
        record = {"at": round(now, 3), "namespace": namespace, "reason": reason}
        yield json.dumps(record | {"keys": keys[start : start + KEYS_A_LINE]}, separators=(",", ":")) + "\n"


def _trim(fd: int, bound: int) -> None:
    """Remove the oldest files until what is left fits."""
    sizes = {}
    for name in sorted(filter(FILE_NAME.fullmatch, os.listdir(fd)), reverse=True):
        with contextlib.suppress(FileNotFoundError):
            sizes[name] = os.stat(name, dir_fd=fd, follow_symlinks=False).st_size
    total = 0
    for name, size in sizes.items():
        total += size
        if total > bound:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=fd)

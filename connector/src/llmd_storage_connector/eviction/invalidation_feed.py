# SPDX-License-Identifier: Apache-2.0
"""What the evictor tells the engines, by files on the claim itself (docs/evictor.md has their formats).

    <root>/.evictor/journal/*.jsonl   blocks that were removed: engines forget that they are there
    <root>/.evictor/advice.json       how old a block's time may be before a reader refreshes it

And what engines tell it: manifest.json of a namespace in use is never older than a day.

"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from llmd_storage_connector.blocks import layout

STATE = ".evictor"
JOURNAL = "journal"
ADVICE = "advice.json"
EVERY_S = 2.0
# The advice changes with how long blocks live, which is minutes at least.
ADVICE_EVERY_S = 60.0
MANIFEST_EVERY_S = 24 * 3600.0

_JOURNAL_FILE = re.compile(r"\d{13}-[0-9a-f]{12}\.jsonl")
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# A file of notices that is larger than this was not written by an evictor.
_MOST_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class FeedUpdate:
    """What is new. removed: keys of blocks of this namespace that are gone.

    refresh_after_s: how old a block's mtime may be before a reader refreshes it; None: nothing new.
    """

    removed: tuple[bytes, ...] = ()
    refresh_after_s: float | None = None


class InvalidationFeed:
    """See the module's head. Thread: one, whichever."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._offsets: dict[str, int] = {}
        # What was removed before this engine asked for anything is of no interest to it.
        self._first = True
        self._advice_at = self._manifest_at = float("-inf")
        self.pause_s = EVERY_S

    def poll(self, folder: str) -> FeedUpdate:
        """What is new since the last call. folder: the namespace's. Raises: OSError. Blocks: as storage does."""
        namespace = Path(folder)
        state, now = namespace.parent / STATE, self._clock()
        removed = self._removed(state / JOURNAL, namespace.name)
        if self._first:
            removed, self._first = [], False
        refresh_after_s = None
        if now - self._advice_at >= ADVICE_EVERY_S:
            self._advice_at = now
            refresh_after_s = _advice(state / ADVICE)
        if now - self._manifest_at >= MANIFEST_EVERY_S:
            self._manifest_at = now
            os.utime(namespace / layout.MANIFEST, follow_symlinks=False)
        return FeedUpdate(tuple(removed), refresh_after_s)

    def _removed(self, journal: Path, namespace: str) -> list[bytes]:
        try:
            present = sorted(filter(_JOURNAL_FILE.fullmatch, os.listdir(journal)))
        except (FileNotFoundError, NotADirectoryError):
            return []
        self._offsets = {name: self._offsets.get(name, 0) for name in present}
        keys: list[bytes] = []
        for name in present:
            for line in self._lines(journal / name):
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    record = json.loads(line)
                    if record["namespace"] == namespace:
                        keys += [bytes.fromhex(key) for key in record["keys"]]
        return keys

    def _lines(self, path: Path) -> list[bytes]:
        """Whole lines since the last poll; one without its end is still being written."""
        start = self._offsets[path.name]
        try:
            fd = os.open(path, _READ)
        except FileNotFoundError:
            return []
        with open(fd, "rb") as file:
            size = os.fstat(fd).st_size
            if self._first or not start < size <= _MOST_BYTES:
                self._offsets[path.name] = size if self._first else start
                return []
            file.seek(start)
            whole, end, _ = file.read(size - start).rpartition(b"\n")
        self._offsets[path.name] = start + len(whole) + len(end)
        return whole.split(b"\n") if end else []


def _advice(path: Path) -> float | None:
    """Seconds, or None where there is no advice that makes sense."""
    try:
        seconds = float(json.loads(path.read_bytes())["touchAfterS"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return seconds if 0 < seconds < float("inf") else None

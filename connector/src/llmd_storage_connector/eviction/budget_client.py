# SPDX-License-Identifier: Apache-2.0
"""Tells the evictor what this engine has written, and reads how much it may write (docs/evictor.md has the formats).

<root>/.evictor/room.json        what each engine may write in all: the evictor's
<root>/.evictor/writers/<id>     what this engine has written, and how much waits: its own
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llmd_storage_connector.eviction.invalidation_feed import STATE
from llmd_storage_connector.eviction.write_budget import WriteBudget

ROOM = "room.json"
WRITERS = "writers"
EVERY_S = 2.0
# While what was granted runs low: the sooner it is told, the less blocks wait.
URGENT_EVERY_S = 0.2
# A report that changes nothing only says that this engine lives, or that blocks still wait.
REPORT_EVERY_S = 20.0
EXHAUSTED_EVERY_S = 1.0
# The evictor renews its file every few seconds; one that stood still for so long is nobody's any more.
ABANDONED_S = 60.0
_MOST_BYTES = 16 << 20


class BudgetClient:
    """See the module's head. Thread: one at a time, whichever.

    The last report stays: until a scan, the evictor knows of these bytes from nowhere else. It removes it in time.
    """

    def __init__(self, budget: WriteBudget, clock: Callable[[], float] = time.monotonic) -> None:
        self._budget, self._clock = budget, clock
        self._id = secrets.token_hex(6)
        self._seen_ns, self._seen_at = -1, 0.0
        self._reported = -1
        self._reported_at = float("-inf")

    @property
    def pause_s(self) -> float:
        """Seconds until the next poll()."""
        return URGENT_EVERY_S if self._budget.is_low else EVERY_S

    def poll(self, folder: str, pending_bytes: int) -> bool:
        """Read the limit, and report if that is due. Returns: whether more may be written than before.

        folder: the namespace's. pending_bytes: of files that wait to be stored.
        Raises: OSError; the limit then stays as it is. Blocks: as long as storage does.
        """
        state = Path(folder).parent / STATE
        found = self._read(state / ROOM)
        if found is not None:
            budget, age_s = self._budget, self._clock() - self._reported_at
            news = budget.is_low and budget.written != self._reported
            if news or age_s >= (EXHAUSTED_EVERY_S if budget.is_exhausted else REPORT_EVERY_S):
                self._report(state / WRITERS, pending_bytes)
        return self._budget.update(None if found is None else _limit_of(found, self._id))

    def _read(self, path: Path) -> dict[str, Any] | None:
        """None: no evictor keeps this cache (any more)."""
        try:
            with path.open("rb") as file:
                stamp, data = os.fstat(file.fileno()).st_mtime_ns, file.read(_MOST_BYTES)
            found = json.loads(data)["room"]
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            return None
        now = self._clock()
        if stamp != self._seen_ns:
            self._seen_ns, self._seen_at = stamp, now
        return found if now - self._seen_at < ABANDONED_S and isinstance(found, dict) else None

    def _report(self, writers: Path, pending_bytes: int) -> None:
        began, written = self._clock(), self._budget.written
        # Of one length, and written over: no reader meets an empty file, and a full disk has room for it.
        line = f'{{"version": 1, "written": {written:20d}, "waiting": {pending_bytes:20d}}}\n'.encode()
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(writers / self._id, flags, 0o660)  # the folder is the evictor's to make
        try:
            os.pwrite(fd, line, 0)
        finally:
            os.close(fd)
        self._reported, self._reported_at = written, began
        self._budget.reported(began)


def _limit_of(room: dict[str, Any], engine: str) -> int | None:
    """None: what is there makes no sense, so nobody sets a limit."""
    try:
        return int(room["limits"].get(engine, room["newcomer"]))
    except (KeyError, TypeError, ValueError, AttributeError):
        return None

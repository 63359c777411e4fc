# SPDX-License-Identifier: Apache-2.0
"""Tells the evictor what this engine has written, and reads how much it may write (docs/evictor.md has the formats).

<root>/.evictor/room.json        what each engine may write in all: the evictor's
<root>/.evictor/writers/<id>     what this engine has written, and how much waits: its own

field | owner                              | guarded by
all   | the thread; before that begin()'s  | _begun
_ended| any                                | itself
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llmd_storage_connector.eviction.invalidation_feed import STATE
from llmd_storage_connector.eviction.write_budget import Allowance
from llmd_storage_connector.telemetry.rate_limited_log import Quiet

logger = logging.getLogger("vllm.llmd_storage_connector.eviction.budget_client")

ROOM = "room.json"
WRITERS = "writers"
EVERY_S = 2.0
# While what was granted runs low: the sooner it is told, the less blocks wait.
HURRIED_S = 0.2
# A report that changes nothing only says that this engine lives, or that blocks still wait.
REPORT_EVERY_S = 20.0
SHORT_EVERY_S = 1.0
# The evictor renews its file every few seconds; one that stood still for so long is nobody's any more.
ABANDONED_S = 60.0
_MOST_BYTES = 16 << 20


class Room:
    """Constructing starts nothing. folder(): the namespace's folder, there from begin() on.

    waiting(): bytes that wait to be stored. on_more(): there may be more to write than before.
    """

    def __init__(
        self,
        allowance: Allowance,
        *,
        folder: Callable[[], str],
        may_touch: Callable[[], bool],
        waiting: Callable[[], int],
        on_more: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._allowance, self._folder, self._may_touch = allowance, folder, may_touch
        self._waiting, self._on_more, self._clock = waiting, on_more, clock
        self._id = secrets.token_hex(6)
        self._seen_ns, self._seen_at = -1, 0.0
        self._said = -1
        self._said_at = float("-inf")
        self._begun = False
        self._ended = threading.Event()
        self._quiet = Quiet(logger)

    def close(self) -> None:
        """End run() at its next step. Thread: any."""
        self._ended.set()

    def begin(self) -> None:
        """The first look, before anything is written. Blocks as storage does. Never raises. Thread: any, once."""
        self._step()
        if not self._allowance.is_known:
            self._allowance.learn(None)
        self._begun = True

    def run(self) -> None:
        """Until close(). Belongs on a daemon thread of its own. Never raises."""
        while not self._ended.wait(HURRIED_S if self._allowance.runs_low else EVERY_S):
            if self._begun and self._may_touch():
                self._step()
        with contextlib.suppress(OSError):
            self._leave()

    def _step(self) -> None:
        try:
            self.step()
        except OSError as error:
            text = "the evictor cannot be told what is written (%s): it keeps the budget by looking alone"
            self._quiet.log(logging.WARNING, "report", text, error)
        except Exception:
            logger.exception("talking with the evictor failed in an unforeseen way")

    def step(self) -> None:
        """Read the limit, and report if that is due. Raises: OSError; the limit then stays as it is."""
        state = Path(self._folder()).parent / STATE
        found = self._read(state / ROOM)
        if found is not None:
            allowance, age_s = self._allowance, self._clock() - self._said_at
            news = allowance.runs_low and allowance.written != self._said
            if news or age_s >= (SHORT_EVERY_S if allowance.is_short else REPORT_EVERY_S):
                self._report(state / WRITERS)
        limit = None if found is None else _limit_of(found, self._id)
        if self._allowance.learn(limit):
            self._on_more()

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

    def _report(self, writers: Path) -> None:
        began, written = self._clock(), self._allowance.written
        # Of one length, and written over: no reader meets an empty file, and a full disk has room for it.
        line = f'{{"version": 1, "written": {written:20d}, "waiting": {self._waiting():20d}}}\n'.encode()
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(writers / self._id, flags, 0o660)  # the folder is the evictor's to make
        try:
            os.pwrite(fd, line, 0)
        finally:
            os.close(fd)
        self._said, self._said_at = written, began
        self._allowance.reported(began)

    def _leave(self) -> None:
        folder = self._folder()
        if folder and self._said_at > float("-inf") and self._may_touch():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(Path(folder).parent / STATE / WRITERS / self._id)


def _limit_of(room: dict[str, Any], engine: str) -> int | None:
    """None: what is there makes no sense, so nobody sets a limit."""
    try:
        return int(room["limits"].get(engine, room["newcomer"]))
    except (KeyError, TypeError, ValueError, AttributeError):
        return None

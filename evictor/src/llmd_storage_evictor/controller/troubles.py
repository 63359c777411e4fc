# SPDX-License-Identifier: Apache-2.0
"""What keeps the budget from being held, and since when: what /healthz answers from."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Sequence

_NOT_PERMITTED = {errno.EACCES, errno.EPERM}


class Troubles:
    """One sentence for each kind of trouble. Thread: any; guarded by a lock that is held for moments.

    remark: what to know though all is well; a string, replaced whole.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._found: dict[str, tuple[float, str]] = {}
        self.remark = ""

    def note(self, kind: str, sentence: str = "") -> None:
        """Set, or with "" end, a trouble of this kind. It keeps the time at which it began."""
        with self._lock:
            since, _ = self._found.pop(kind, (self._clock(), ""))
            if sentence:
                self._found[kind] = since, sentence

    def clear(self, *kinds: str) -> None:
        """End the troubles of these kinds."""
        for kind in kinds:
            self.note(kind)

    def lasting(self, seconds: float) -> str:
        """The trouble that has lasted longest, if that is more than this long; else ""."""
        with self._lock:
            since, sentence = min(self._found.values(), default=(self._clock(), ""))
        age_s = self._clock() - since
        return f"{sentence} (for {age_s:.0f} s)" if age_s > seconds else ""


PASS_KINDS = ("pass", "unreadable", "over")


def note_pass(troubles: Troubles, unreadable: Sequence[tuple[str, OSError]], over_bytes: int, failure: str) -> None:
    """What a pass over the cache that came to its end has found.

    unreadable: folders, and why. over_bytes: over the budget, if nothing could be removed. failure: to remove, or "".
    """
    troubles.clear("pass")
    text = ""
    if unreadable:
        place, error = unreadable[0]
        text = f"{len(unreadable)} folders cannot be read, what they hold is not known: {place}: {explain(error)}"
    troubles.note("unreadable", text)
    why = failure or "what is left is pinned, used within pin_younger_s, or within its minimum"
    text = f"the cache is {over_bytes} bytes over its budget and nothing can be removed: {why}"
    troubles.note("over", text if over_bytes > 0 else "")


def explain(error: Exception) -> str:
    """The error; of a missing right, also who lacks it and what to set."""
    if isinstance(error, OSError) and error.errno in _NOT_PERMITTED:
        return (
            f"{error}: user {os.geteuid()} of group {os.getegid()} may not do that; give the evictor the ids of the "
            "model servers (global.podSecurity), or let their group write"
        )
    return str(error)

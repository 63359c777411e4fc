# SPDX-License-Identifier: Apache-2.0
"""A time limit that holds even when the filesystem never answers.

| field | owner | guarded by |
| --- | --- | --- |
| result queue | written once by the worker thread, read by the caller | queue.Queue |
A thread that hangs in a system call cannot be stopped: it is abandoned (daemon), and the process leaves with
os._exit.
"""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Callable
from typing import TypeVar

from llmd_storage_hooks.core.clock import Deadline

T = TypeVar("T")

# Work watches the deadline itself between file operations; only a call that does not return outlives it.
GRACE_S = 2.0
# What ends a hook: its handler raises Stopped in the main thread.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class CallTimeout(Exception):
    """The call did not return in time; its thread is stuck and was abandoned."""


def bounded(work: Callable[[], T], deadline: Deadline, grace_s: float = GRACE_S) -> T:
    """Run `work` in a thread of its own.

    Raises: what `work` raises, or CallTimeout. Blocks up to: the deadline plus the grace.
    """
    results: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(1)

    def body() -> None:
        try:
            results.put((work(), None))
        except BaseException as error:
            results.put((None, error))

    # A handler that raises in the midst of start() leaves a thread that complains of its own beginning: it waits.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        threading.Thread(target=body, name="bounded-call", daemon=True).start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    try:
        value, error = results.get(timeout=deadline.left() + grace_s)
    except queue.Empty:
        raise CallTimeout from None
    if error is not None:
        raise error
    return value  # type: ignore[return-value]  # no error: the value is work's own

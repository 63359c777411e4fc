# SPDX-License-Identifier: Apache-2.0
"""A user would lose: memory without bound while storage is slow, or blocks in use that are taken for old ones."""

from __future__ import annotations

import threading

from llmd_storage_connector.engine.refreshes import Refreshes
from tests.patience import CEILING_S


def test_each_block_is_marked_once_in_the_order_they_were_read() -> None:
    queue = Refreshes()
    for key in (b"a", b"b", b"a", b"b", b"c"):
        queue.add(key)
    assert [queue.next(0) for _ in range(4)] == [b"a", b"b", b"c", None]
    queue.add(b"a")
    assert queue.next(0) == b"a", "read again later"


def test_there_is_a_limit() -> None:
    queue = Refreshes(most=2)
    for key in (b"a", b"b", b"c"):
        queue.add(key)
    assert [queue.next(0) for _ in range(3)] == [b"a", b"b", None]


def test_closing_ends_who_waits() -> None:
    queue, ended = Refreshes(), threading.Event()
    thread = threading.Thread(target=lambda: (queue.next(CEILING_S), ended.set()), daemon=True)
    thread.start()
    queue.close()
    assert ended.wait(CEILING_S)
    queue.add(b"a")
    assert queue.next(CEILING_S) is None

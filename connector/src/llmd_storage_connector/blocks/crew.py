# SPDX-License-Identifier: Apache-2.0
"""Threads that move blocks, and wait for more. What they wait for, and who hears of what they did, is a crew.

An order is many blocks, which movers take one by one. A crew may do without Python what it can; a block that does not
go well, or that it cannot move, goes to Python in the thread that had it, and its order rests until Python says how it
went. This one moves none; native_crew.py those of runs.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from llmd_storage_connector.blocks.buffer import BlockBuffer
from llmd_storage_connector.blocks.gate import Gate
from llmd_storage_connector.blocks.run import Run


class Order(NamedTuple):
    """What movers are to do. token: never 0, and no other order's; blocks: how many.

    run: of these blocks; None where Python has to move them. parts: in how many a crew may read each of them, so that
    several threads are at it; no more than it has stripes.
    """

    token: int
    gate: Gate
    is_store: bool
    blocks: int
    run: Run | None = None
    parts: int = 1


class Crew(Protocol):
    """See the module's head. Thread: one calls wait(), any the rest."""

    def add(self, orders: Sequence[Order], *, low: int = -1) -> None:
        """More to do: loads before stores. Loads of several gates take turns.

        low: when no more than so many blocks wait, that is news. Never waits.
        """
        ...

    def work(self, buffer: BlockBuffer, *, is_done: bool = False) -> tuple[int, int] | None:
        """Do what there is to do, through the thread's own buffer, and wait for more.

        is_done: whether the block that the last call returned is; if not, no more blocks of its order are taken.
        Returns: (token of an order, index of its block) that Python is to move, or to say what it lacks; None once
        close() was called and nothing is left. Blocks: as long as storage does.
        """
        ...

    def wait(self) -> list[int]:
        """Wait for news: orders that are over, or run low, or tell(). Returns: tokens of orders that are over."""
        ...

    def tell(self) -> None:
        """There is news. Never waits."""
        ...

    def limit(self, writers: int) -> None:
        """So many may store at once."""
        ...

    def close(self) -> None:
        """Nobody waits any more; what is left is done first."""
        ...


@dataclass(slots=True)
class _Taken:
    """An order, and how far it is."""

    order: Order
    taken: int = 0
    active: int = 0
    is_stopped: bool = False

    @property
    def left(self) -> int:
        return self.order.blocks - self.taken


class PythonCrew:
    """See Crew. Every block goes to Python; crew.zig does the same with those that do not."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls = threading.Condition(self._lock)
        self._news = threading.Condition(self._lock)
        self._is_news = self._closed = False
        self._loads: deque[_Taken] = deque()
        self._stores: deque[_Taken] = deque()
        self._done: list[int] = []
        self._storing = self._writers = self._waiting = 0
        self._low = -1
        self._had: dict[int, _Taken] = {}  # by the thread's buffer

    def add(self, orders: Sequence[Order], *, low: int = -1) -> None:
        """See Crew.add."""
        with self._lock:
            for order in orders:
                queue = self._queue_of(order)
                queue.append(_Taken(order))
                self._waiting += order.blocks
            self._low = low
            self._calls.notify_all()

    def work(self, buffer: BlockBuffer, *, is_done: bool = False) -> tuple[int, int] | None:
        """See Crew.work."""
        me = id(buffer)
        with self._lock:
            if had := self._had.pop(me, None):
                self._settle(had, is_done)
            while (one := self._next()) is None:
                if self._closed:
                    return None
                self._calls.wait()
            self._had[me] = one
            index = one.taken - 1
        one.order.gate.begin(time.monotonic())
        return one.order.token, index

    def _next(self) -> _Taken | None:
        may_store = self._storing < self._writers or self._closed
        queue = self._loads or (self._stores if may_store else None)
        if not queue:
            return None
        one = queue.popleft()
        one.taken += 1
        one.active += 1
        self._waiting -= 1
        self._storing += one.order.is_store
        if one.left:
            takes_turns = not one.order.is_store and any(other.order.gate is not one.order.gate for other in queue)
            (queue.append if takes_turns else queue.appendleft)(one)
        if self._waiting == self._low:
            self._tell()
        return one

    def _settle(self, one: _Taken, is_done: bool) -> None:
        one.active -= 1
        self._storing -= one.order.is_store
        if not is_done and not one.is_stopped:
            one.is_stopped = True
            if one.left:
                self._queue_of(one.order).remove(one)
                self._waiting -= one.left
        if one.active == 0 and (one.left == 0 or one.is_stopped):
            self._done.append(one.order.token)
            self._tell()
        self._calls.notify()

    def _queue_of(self, order: Order) -> deque[_Taken]:
        return self._stores if order.is_store else self._loads

    def _tell(self) -> None:
        self._is_news = True
        self._news.notify()

    def wait(self) -> list[int]:
        """See Crew.wait."""
        with self._lock:
            self._news.wait_for(lambda: self._is_news)
            done, self._done, self._is_news = self._done, [], False
            return done

    def tell(self) -> None:
        """See Crew.tell."""
        with self._lock:
            self._tell()

    def limit(self, writers: int) -> None:
        """See Crew.limit."""
        with self._lock:
            self._writers = writers
            self._calls.notify_all()

    def close(self) -> None:
        """See Crew.close."""
        with self._lock:
            self._closed = True
            self._calls.notify_all()
            self._tell()

# SPDX-License-Identifier: Apache-2.0
"""A crew that moves runs of blocks, and waits for more, without the interpreter: what of it is Python. The rest is
native/crew.zig.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Sequence
from typing import Any

from llmd_storage_connector.blocks.buffer import BlockBuffer
from llmd_storage_connector.blocks.crew import Order
from llmd_storage_connector.blocks.native_gate import address_of
from llmd_storage_connector.blocks.native_layout import Mover, NativeOrder
from llmd_storage_connector.blocks.native_order import mover_of, order_of

_WORD = ctypes.sizeof(ctypes.c_uint64)
# Ends of orders that Python hears of at once.
_TOLD = 256


class NativeCrew:
    """See Crew. Blocks of a run are moved by native code; others go to Python."""

    def __init__(self, library: ctypes.CDLL, quick: ctypes.PyDLL) -> None:
        """quick: the same library, for calls that keep the interpreter since they never wait."""
        self._memory = (ctypes.c_uint64 * (library.llmd_crew_bytes() // _WORD + 1))()
        self._address = ctypes.addressof(self._memory)
        self._told = (ctypes.c_uint64 * _TOLD)()
        self._movers: dict[int, tuple[BlockBuffer, Mover]] = {}
        self._kept: dict[int, tuple[NativeOrder, Order, Any]] = {}
        self._work, self._wait = library.llmd_crew_work, library.llmd_crew_wait
        self._work.argtypes, self._work.restype = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_bool), ctypes.c_uint64
        self._wait.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64)
        self._wait.restype = ctypes.c_uint64
        self._shared_bytes = quick.llmd_shared_bytes
        self._shared_bytes.argtypes, self._shared_bytes.restype = (ctypes.c_void_p,), ctypes.c_uint64
        self._tell, self._close = quick.llmd_crew_tell, quick.llmd_crew_close
        # Who is woken up may take this thread's processor at once: it should not have the interpreter then.
        self._add, self._limit = library.llmd_crew_add, library.llmd_crew_limit
        self._add.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_int64)
        self._tell.argtypes = self._close.argtypes = (ctypes.c_void_p,)
        self._limit.argtypes = (ctypes.c_void_p, ctypes.c_uint32)
        self._add.restype = self._tell.restype = self._limit.restype = self._close.restype = None

    def add(self, orders: Sequence[Order], *, low: int = -1) -> None:
        """See Crew.add."""
        addresses = (ctypes.c_void_p * len(orders))(*[self._native(order) for order in orders])
        self._add(self._address, ctypes.addressof(addresses), len(orders), low)

    def _native(self, order: Order) -> int:
        """The address of the order for native code. Ensures: it stays, and all that it refers to, until it is over."""
        native, shared = NativeOrder(), None
        parts = order.parts
        if order.run is not None:
            with contextlib.suppress(ValueError):  # Python will say so
                native = order_of(order.run, is_store=order.is_store)
        if native.items is None:
            parts = 1
        elif parts > 1:
            size = self._shared_bytes(ctypes.addressof(native.transfer)) // _WORD
            shared = (ctypes.c_uint64 * (size * order.blocks))()
            for at in range(0, len(shared), size):
                shared[at] = parts  # of each block are left
            native.shared = ctypes.addressof(shared)
        native.token, native.is_store, native.count, native.parts = order.token, order.is_store, order.blocks, parts
        native.transfer.gate = address_of(order.gate)
        self._kept[order.token] = native, order, shared
        return ctypes.addressof(native)

    def work(self, buffer: BlockBuffer, *, is_done: bool = False) -> tuple[int, int] | None:
        """See Crew.work."""
        _, mover = self._movers.get(id(buffer)) or self._movers.setdefault(id(buffer), (buffer, mover_of(buffer)))
        token = self._work(self._address, ctypes.addressof(mover), is_done)
        return (token, mover.index // self._kept[token][0].parts) if token else None

    def wait(self) -> list[int]:
        """See Crew.wait."""
        count = self._wait(self._address, ctypes.addressof(self._told), _TOLD)
        tokens = self._told[:count]
        for token in tokens:
            del self._kept[token]
        return tokens

    def tell(self) -> None:
        """See Crew.tell."""
        self._tell(self._address)

    def limit(self, writers: int) -> None:
        """See Crew.limit."""
        self._limit(self._address, writers)

    def close(self) -> None:
        """See Crew.close."""
        self._close(self._address)

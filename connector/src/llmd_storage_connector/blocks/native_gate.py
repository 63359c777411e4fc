# SPDX-License-Identifier: Apache-2.0
"""A job's gate that threads in native code pass, too."""

from __future__ import annotations

import ctypes

from llmd_storage_connector.blocks.gate import Gate
from llmd_storage_connector.blocks.native_layout import SharedGate


class NativeGate:
    """A Gate that native code knows as well."""

    __slots__ = ("_close", "_enter", "_leave", "_shared", "address")

    def __init__(self, library: ctypes.PyDLL) -> None:
        self._shared = SharedGate()
        self.address = ctypes.addressof(self._shared)
        self._enter, self._leave, self._close = (
            library.llmd_gate_enter,
            library.llmd_gate_leave,
            library.llmd_gate_close,
        )

    @property
    def copied(self) -> int:
        """See Gate."""
        return int(self._shared.copied)

    @property
    def began(self) -> float | None:
        """See Gate."""
        return self._shared.began / 1e9 if self._shared.began else None

    def begin(self, now: float) -> None:
        """See Gate.begin."""
        if not self._shared.began:
            self._shared.began = int(now * 1e9)

    def enter(self) -> bool:
        """See Gate.enter."""
        return bool(self._enter(self.address))

    def leave(self, copied: int = 0) -> None:
        """See Gate.leave."""
        self._leave(self.address, copied)

    def close(self) -> bool:
        """See Gate.close."""
        return int(self._close(self.address)) == 0


def address_of(gate: Gate) -> int:
    """Where native code finds it. Raises: TypeError for one that native code does not know."""
    if not isinstance(gate, NativeGate):
        raise TypeError("the gate is another data path's")
    return gate.address

# SPDX-License-Identifier: Apache-2.0
"""What Python and native code share: the same layout in both, and each native one's size is asked for at start."""

from __future__ import annotations

import ctypes
import struct
from enum import IntEnum

from llmd_storage_connector.blocks.format import MAX_KEY_BYTES


class Status(IntEnum):
    """block.zig's Status."""

    OK = 0
    INVALID = 1
    OPEN_FAILED = 2
    STAT_FAILED = 3
    NOT_OURS = 4
    READ_FAILED = 5
    SHORT = 6
    CANCELLED = 7
    MISMATCH = 8
    WRITE_FAILED = 9


class Transfer(ctypes.Structure):
    """block.zig's Transfer."""

    _fields_ = (
        ("payload_bytes", ctypes.c_uint64),
        ("stripe_bytes", ctypes.c_uint64),
        ("header_bytes", ctypes.c_uint64),
        ("buffer", ctypes.c_void_p),
        ("buffer_bytes", ctypes.c_uint64),
        ("row", ctypes.c_void_p),
        ("row_bytes", ctypes.c_uint64),
        ("fields", ctypes.c_char_p),
        ("fields_bytes", ctypes.c_uint64),
        ("checksums", ctypes.c_void_p),
        ("stripes", ctypes.c_uint64),
        ("first_stripe", ctypes.c_uint64),
        ("stripe_count", ctypes.c_uint64),
        ("gate", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("folder", ctypes.c_int32),
        ("flags", ctypes.c_uint32),
        ("fd", ctypes.c_int32),
        ("group", ctypes.c_uint32),
        ("owner", ctypes.c_uint32),
        ("other_owner", ctypes.c_uint32),
        ("errno", ctypes.c_int32),
        ("mode", ctypes.c_uint32),
        ("uid", ctypes.c_uint32),
        ("gid", ctypes.c_uint32),
        ("size", ctypes.c_uint64),
        ("ends_at", ctypes.c_uint64),
        ("mtime_s", ctypes.c_int64),
        ("mtime_ns", ctypes.c_uint32),
        ("writes_past_cache", ctypes.c_uint32),
    )


# block.zig's Item: row, folder, length of the key, key, name while it is written.
ITEM = struct.Struct(f"=QiI{MAX_KEY_BYTES}s40s")


class Publishing(ctypes.Structure):
    """publish.zig's Publishing."""

    _fields_ = (
        ("way", ctypes.c_uint32),
        ("mode", ctypes.c_uint32),
        ("sets_mode", ctypes.c_bool),
        ("forgets", ctypes.c_bool),
    )


class SharedGate(ctypes.Structure):
    """gate.zig's Gate."""

    _fields_ = (
        ("state", ctypes.c_uint32),
        ("orders", ctypes.c_uint32),
        ("copied", ctypes.c_uint64),
        ("began", ctypes.c_int64),
    )


class NativeOrder(ctypes.Structure):
    """crew.zig's Order."""

    _fields_ = (
        ("next", ctypes.c_void_p),
        ("token", ctypes.c_uint64),
        ("is_store", ctypes.c_bool),
        ("is_stopped", ctypes.c_bool),
        ("count", ctypes.c_uint64),
        ("parts", ctypes.c_uint64),
        ("taken", ctypes.c_uint64),
        ("active", ctypes.c_uint64),
        ("items", ctypes.c_char_p),
        ("shared", ctypes.c_void_p),
        ("times", ctypes.c_void_p),
        ("how", Publishing),
        ("transfer", Transfer),
    )


class Mover(ctypes.Structure):
    """crew.zig's Mover."""

    _fields_ = (
        ("buffer", ctypes.c_void_p),
        ("buffer_bytes", ctypes.c_uint64),
        ("checksums", ctypes.c_void_p),
        ("order", ctypes.c_void_p),
        ("index", ctypes.c_uint64),
    )


SIZES = {
    "llmd_transfer_bytes": ctypes.sizeof(Transfer),
    "llmd_item_bytes": ITEM.size,
    "llmd_publishing_bytes": ctypes.sizeof(Publishing),
    "llmd_gate_bytes": ctypes.sizeof(SharedGate),
    "llmd_order_bytes": ctypes.sizeof(NativeOrder),
    "llmd_mover_bytes": ctypes.sizeof(Mover),
}

# SPDX-License-Identifier: Apache-2.0
"""The data path without the interpreter lock: what of it is Python. The rest is native/*.zig (docs/decisions/0011)."""

from __future__ import annotations

import ctypes
import functools
import itertools
import logging
import os
import platform
import struct
import threading
from collections.abc import Callable, Iterable
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple, NoReturn

from llmd_storage_connector.blocks.data_path import BlockRead, DataPath, Move, PythonPath, Row, Run
from llmd_storage_connector.blocks.format import MAX_KEY_BYTES, check_header, fields_of
from llmd_storage_connector.blocks.gate import Gate
from llmd_storage_connector.blocks.mount_probe import Mount
from llmd_storage_connector.errors import Cancelled, Corrupt, Rule
from llmd_storage_core import publish
from llmd_storage_core.strategies import STRATEGIES

logger = logging.getLogger("vllm.llmd_storage_connector.blocks.native")

_FOLDER = Path(__file__).resolve().parents[1] / "_native"
# What /proc/cpuinfo calls the instructions that the quicker code for x86-64 was compiled for.
_V3 = frozenset("avx avx2 bmi1 bmi2 f16c fma abm movbe".split())


class _Status(IntEnum):
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


class _Transfer(ctypes.Structure):
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
        ("_", ctypes.c_uint32),
    )


# block.zig's Item: row, folder, length of the key, key, name while it is written.
_ITEM = struct.Struct(f"=QiI{MAX_KEY_BYTES}s40s")


class _Publishing(ctypes.Structure):
    """publish.zig's Publishing."""

    _fields_ = (
        ("way", ctypes.c_uint32),
        ("mode", ctypes.c_uint32),
        ("sets_mode", ctypes.c_bool),
        ("forgets", ctypes.c_bool),
    )


_SIZES = {
    "llmd_transfer_bytes": ctypes.sizeof(_Transfer),
    "llmd_item_bytes": _ITEM.size,
    "llmd_publishing_bytes": ctypes.sizeof(_Publishing),
}


class _SharedGate(ctypes.Structure):
    """gate.zig's Gate."""

    _fields_ = (("state", ctypes.c_uint32), ("_", ctypes.c_uint32), ("copied", ctypes.c_uint64))


class _Found(NamedTuple):
    """A FileStat."""

    st_mode: int
    st_uid: int
    st_gid: int
    st_size: int
    st_mtime: float


class NativeGate:
    """A Gate that native code knows as well."""

    __slots__ = ("_close", "_enter", "_leave", "_shared", "address")

    def __init__(self, library: ctypes.PyDLL) -> None:
        self._shared = _SharedGate()
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

    def enter(self) -> bool:
        """See Gate.enter."""
        return bool(self._enter(self.address))

    def leave(self, copied: int = 0) -> None:
        """See Gate.leave."""
        self._leave(self.address, copied)

    def close(self) -> bool:
        """See Gate.close."""
        return int(self._close(self.address)) == 0


class NativePath:
    """See DataPath. A call is one call of the library, however many stripes the block has."""

    name = "native"

    def __init__(self, file: Path) -> None:
        """Raises: OSError when the library cannot be loaded, or is not of this version."""
        library, quick = ctypes.CDLL(str(file)), ctypes.PyDLL(str(file))
        if any(getattr(library, name, int)() != size for name, size in _SIZES.items()):
            raise OSError(f"{file} was made from other sources than the Python beside it")
        self._read, self._read_stripes, self._write = library.llmd_read, library.llmd_read_stripes, library.llmd_write
        for call in (self._read, self._read_stripes, self._write):
            call.argtypes = (ctypes.c_void_p,)
        self._read_run = library.llmd_read_run
        self._read_run.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_uint64)
        self._read_run.restype = None
        self._publish_run = library.llmd_publish_run
        self._publish_run.argtypes = (ctypes.c_void_p, ctypes.c_void_p, *self._read_run.argtypes[1:])
        self._publish_run.restype = None
        self._calls = threading.local()
        # These never wait: giving the interpreter away for them costs more than they do.
        self._quick = quick
        quick.llmd_gate_enter.argtypes = quick.llmd_gate_close.argtypes = (ctypes.c_void_p,)
        quick.llmd_gate_leave.argtypes = (ctypes.c_void_p, ctypes.c_uint64)
        quick.llmd_gate_leave.restype = None
        quick.llmd_gate_enter.restype, quick.llmd_gate_close.restype = ctypes.c_bool, ctypes.c_uint32

    def new_gate(self) -> Gate:
        """See DataPath."""
        return NativeGate(self._quick)

    def read(self, move: Move, folder: int, name: str, mount: Mount) -> BlockRead:
        """See DataPath."""
        transfer = self._transfer(move, fields_of(move.spec, move.key))
        transfer.name, transfer.folder, transfer.flags = name.encode(), folder, mount.read_flags
        transfer.owner, transfer.other_owner = mount.owner_pair
        transfer.group = mount.group
        status = self._read(ctypes.addressof(transfer))
        if status == _Status.OPEN_FAILED:
            raise OSError(transfer.errno, os.strerror(transfer.errno), name)
        mtime = transfer.mtime_s + transfer.mtime_ns / 1e9
        found = _Found(transfer.mode, transfer.uid, transfer.gid, transfer.size, mtime)
        if status in (_Status.OK, _Status.NOT_OURS):
            return BlockRead(found)
        try:
            if status == _Status.MISMATCH:
                check_header(move.spec, move.key, move.buffer.header, list(move.buffer.checksums))
                raise RuntimeError("native code refused a block that is whole")
            _raise(status, transfer)
        except (OSError, Corrupt) as error:
            return BlockRead(found, error)

    def read_run(self, run: Run, mount: Mount) -> None:
        """See DataPath."""
        transfer = self._transfer_of(run)
        transfer.flags, transfer.group = mount.read_flags, mount.group
        transfer.owner, transfer.other_owner = mount.owner_pair
        items = _packed(run, itertools.repeat(b""))
        self._read_run(ctypes.addressof(transfer), items, run.times, len(run.blocks))

    def publish_run(self, run: Run, strategy: str, *, forgets: bool) -> None:
        """See DataPath."""
        how = _Publishing(STRATEGIES.index(strategy), publish.FILE_MODE, publish.sets_mode(), forgets)
        items = _packed(run, (publish.next_scratch().encode() for _ in run.blocks))
        transfer = self._transfer_of(run)
        self._publish_run(ctypes.addressof(transfer), ctypes.addressof(how), items, run.times, len(run.blocks))

    def _transfer_of(self, run: Run) -> _Transfer:
        """This thread's, for blocks whose names, and headers behind the fields, are made by native code."""
        key, address = run.blocks[0]
        fields = fields_of(run.spec, key)
        return self._transfer(Move(run.spec, key, run.buffer, Row(address, run.gate)), fields[: len(fields) - len(key)])

    def read_stripes(self, move: Move, fd: int, indices: range) -> list[int]:
        """See DataPath."""
        transfer = self._transfer(move)
        transfer.fd, transfer.first_stripe, transfer.stripe_count = fd, indices.start, len(indices)
        status = self._read_stripes(ctypes.addressof(transfer))
        if status != _Status.OK:
            _raise(status, transfer)
        return list(move.buffer.checksums[indices.start : indices.stop])

    def write(self, move: Move, fd: int) -> None:
        """See DataPath."""
        transfer = self._transfer(move, fields_of(move.spec, move.key))
        transfer.fd = fd
        status = self._write(ctypes.addressof(transfer))
        if status != _Status.OK:
            _raise(status, transfer)

    def _transfer(self, move: Move, fields: bytes = b"") -> _Transfer:
        """This thread's, for a whole block. What a call does not need keeps what the last one had."""
        spec, _, buffer, row = move
        if not isinstance(row.gate, NativeGate):
            raise TypeError("the row's gate is another data path's")
        if getattr(self._calls, "of", None) != (spec, buffer):
            self._calls.of, self._calls.transfer = (
                (spec, buffer),
                _Transfer(
                    payload_bytes=spec.payload_bytes,
                    stripe_bytes=spec.stripe_bytes,
                    header_bytes=spec.header_bytes,
                    buffer=buffer.address,
                    buffer_bytes=len(buffer.whole),
                    row_bytes=spec.payload_bytes,
                    checksums=ctypes.addressof(buffer.checksums),
                    stripes=spec.stripe_count,
                ),
            )
        transfer: _Transfer = self._calls.transfer
        transfer.row, transfer.gate = row.address, row.gate.address
        transfer.fields, transfer.fields_bytes = fields, len(fields)
        transfer.first_stripe, transfer.stripe_count = 0, transfer.stripes
        transfer.errno = 0
        return transfer


def _packed(run: Run, scratches: Iterable[bytes]) -> bytes:
    """The run's Items."""
    pack, length = _ITEM.pack, len(run.blocks[0][0])
    blocks = zip(run.blocks, run.folders, scratches, strict=False)
    return b"".join([pack(address, folder.fd, length, key, scratch) for (key, address), folder, scratch in blocks])


def _raise(status: int, transfer: _Transfer) -> NoReturn:
    if status == _Status.CANCELLED:
        raise Cancelled
    if status == _Status.SHORT:
        raise Corrupt(Rule.LENGTH, f"ends at {transfer.ends_at}")
    if transfer.errno:
        raise OSError(transfer.errno, os.strerror(transfer.errno))
    raise RuntimeError(f"native code answered {status}")


@functools.cache
def best_path() -> DataPath:
    """Native code where there is some for this processor; else Python, which is said once."""
    try:
        return NativePath(library_file(platform.machine(), _processor_flags))
    except OSError as error:
        logger.warning(
            "KV blocks are moved by Python code, which takes the interpreter from the engine: %s; install "
            "llm-d-storage-connector from its wheel or the project image, which have the native code",
            error,
        )
        return PythonPath()


def library_file(machine: str, processor_flags: Callable[[], frozenset[str]], folder: Path = _FOLDER) -> Path:
    """The library for a machine as uname(1) names it. Raises: OSError saying that there is none."""
    name = {"x86_64": "x86_64.so", "aarch64": "aarch64.so"}.get(machine, "")
    if machine == "x86_64" and processor_flags() >= _V3:
        name = "x86_64_v3.so"
    if not name:
        raise OSError(f"there is no native code for processors of the kind {machine}")
    if not (folder / name).exists():
        raise OSError(f"{folder / name} is not there")
    return folder / name


def _processor_flags() -> frozenset[str]:
    """What the first processor can do, in Linux' words; nothing where that is not told."""
    try:
        with open("/proc/cpuinfo") as lines:
            return next(frozenset(line.partition(":")[2].split()) for line in lines if line.startswith("flags"))
    except (OSError, StopIteration):
        return frozenset()

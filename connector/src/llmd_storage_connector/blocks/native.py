# SPDX-License-Identifier: Apache-2.0
"""The data path without the interpreter lock: what of it is Python. The rest is native/*.zig (docs/decisions/0011)."""

from __future__ import annotations

import ctypes
import functools
import logging
import os
import platform
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, NoReturn

from llmd_storage_connector.blocks.crew import Crew
from llmd_storage_connector.blocks.data_path import BlockRead, DataPath, Move
from llmd_storage_connector.blocks.format import check_header, fields_of
from llmd_storage_connector.blocks.gate import Gate
from llmd_storage_connector.blocks.mount_probe import Mount
from llmd_storage_connector.blocks.native_crew import NativeCrew
from llmd_storage_connector.blocks.native_gate import NativeGate, address_of
from llmd_storage_connector.blocks.native_layout import SIZES, Status, Transfer
from llmd_storage_connector.blocks.native_order import transfer_of
from llmd_storage_connector.blocks.python_path import PythonPath
from llmd_storage_connector.errors import Cancelled, Corrupt, Rule

logger = logging.getLogger("vllm.llmd_storage_connector.blocks.native")

_FOLDER = Path(__file__).resolve().parents[1] / "_native"
# What /proc/cpuinfo calls the instructions that the quicker code for x86-64 was compiled for.
_V3 = frozenset("avx avx2 bmi1 bmi2 f16c fma abm movbe".split())


class _Found(NamedTuple):
    """A FileStat."""

    st_mode: int
    st_uid: int
    st_gid: int
    st_size: int
    st_mtime: float


class NativePath:
    """See DataPath. A call is one call of the library, however many stripes the block has."""

    name = "native"

    def __init__(self, file: Path) -> None:
        """Raises: OSError when the library cannot be loaded, or is not of this version."""
        library, quick = ctypes.CDLL(str(file)), ctypes.PyDLL(str(file))
        if any(getattr(library, name, int)() != size for name, size in SIZES.items()):
            raise OSError(f"{file} was made from other sources than the Python beside it")
        self._read, self._write = library.llmd_read, library.llmd_write
        for call in (self._read, self._write):
            call.argtypes = (ctypes.c_void_p,)
        self._calls = threading.local()
        self._library = library
        # These never wait: giving the interpreter away for them costs more than they do.
        self._quick = quick
        quick.llmd_gate_enter.argtypes = quick.llmd_gate_close.argtypes = (ctypes.c_void_p,)
        quick.llmd_gate_leave.argtypes = (ctypes.c_void_p, ctypes.c_uint64)
        quick.llmd_gate_leave.restype = None
        quick.llmd_gate_enter.restype, quick.llmd_gate_close.restype = ctypes.c_bool, ctypes.c_uint32

    def new_gate(self) -> Gate:
        """See DataPath."""
        return NativeGate(self._quick)

    def new_crew(self) -> Crew:
        """See DataPath."""
        return NativeCrew(self._library, self._quick)

    def read(self, move: Move, folder: int, name: str, mount: Mount) -> BlockRead:
        """See DataPath."""
        transfer = self._transfer(move, fields_of(move.spec, move.key))
        transfer.name, transfer.folder, transfer.flags = name.encode(), folder, mount.read_flags
        transfer.owner, transfer.other_owner = mount.owner_pair
        transfer.group = mount.group
        status = self._read(ctypes.addressof(transfer))
        if status == Status.OPEN_FAILED:
            raise OSError(transfer.errno, os.strerror(transfer.errno), name)
        mtime = transfer.mtime_s + transfer.mtime_ns / 1e9
        found = _Found(transfer.mode, transfer.uid, transfer.gid, transfer.size, mtime)
        if status in (Status.OK, Status.NOT_OURS):
            return BlockRead(found)
        try:
            if status == Status.MISMATCH:
                check_header(move.spec, move.key, move.buffer.header, list(move.buffer.checksums))
                raise RuntimeError("native code refused a block that is whole")
            _raise(status, transfer)
        except (OSError, Corrupt) as error:
            return BlockRead(found, error)

    def write(self, move: Move, fd: int, *, past_cache: bool = False) -> None:
        """See DataPath."""
        transfer = self._transfer(move, fields_of(move.spec, move.key))
        transfer.fd, transfer.writes_past_cache = fd, past_cache
        status = self._write(ctypes.addressof(transfer))
        if status != Status.OK:
            _raise(status, transfer)

    def _transfer(self, move: Move, fields: bytes = b"") -> Transfer:
        """This thread's, for a whole block. What a call does not need keeps what the last one had."""
        spec, _, buffer, row = move
        if getattr(self._calls, "of", None) != (spec, buffer):
            new = transfer_of(spec)
            new.buffer, new.buffer_bytes = buffer.address, len(buffer.whole)
            new.checksums = ctypes.addressof(buffer.checksums)
            self._calls.of, self._calls.transfer = (spec, buffer), new
        transfer: Transfer = self._calls.transfer
        transfer.row, transfer.gate = row.address, address_of(row.gate)
        transfer.fields, transfer.fields_bytes = fields, len(fields)
        transfer.errno = 0
        return transfer


def _raise(status: int, transfer: Transfer) -> NoReturn:
    if status == Status.CANCELLED:
        raise Cancelled
    if status == Status.SHORT:
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

# SPDX-License-Identifier: Apache-2.0
"""A user would lose: KV bytes of a request, to a read that storage answers long after their rows were given away.

On a mount that really hangs and fails, where the unit tests have only gates and files.
"""

from __future__ import annotations

import errno
import mmap
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llmd_storage_connector.blocks import layout
from llmd_storage_connector.blocks.buffer import BlockBuffer
from llmd_storage_connector.blocks.data_path import DataPath
from llmd_storage_connector.blocks.mount_probe import WRITTEN_PAST_CACHE_BYTES
from llmd_storage_connector.blocks.result import BlockResult
from llmd_storage_connector.blocks.store import BlockStore
from llmd_storage_connector.errors import Cancelled
from tests.faultfs import FaultFS, mounted
from tests.faultfs.build import missing
from tests.patience import CEILING_S, eventually
from tests.unit.connector.conftest import PATHS, PAYLOAD_BYTES, content, get, key, open_store, put, row_of

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "faultfs is here")


@pytest.fixture(params=PATHS)
def data_path(request: pytest.FixtureRequest) -> DataPath:
    return PATHS[request.param]()


@pytest.fixture
def sick(tmp_path: Path, data_path: DataPath) -> Iterator[tuple[FaultFS, BlockStore]]:
    """A mount, and an open namespace on it with one block."""
    (tmp_path / "source").mkdir()
    with mounted(tmp_path / "source", tmp_path / "at") as fs:
        store = open_store(tmp_path / "at" / "blocks", data_path)
        assert put(store, key(1), content(7)).ok
        yield fs, store
        fs.set()


def run(call: Callable[[], BlockResult]) -> tuple[threading.Thread, list[object]]:
    """In a thread: what it returns, or raises."""
    came: list[object] = []

    def work() -> None:
        try:
            came.append(call())
        except Cancelled as error:
            came.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread, came


def test_a_read_that_storage_answers_late_touches_no_row(sick: tuple[FaultFS, BlockStore]) -> None:
    fs, store = sick
    memory = bytearray(PAYLOAD_BYTES)
    row, before = row_of(memory, store), fs.seen["read"]
    fs.set(hang=("read",))
    thread, came = run(lambda: store.load(key(1), BlockBuffer(store.spec), row))
    eventually(lambda: fs.seen["read"] > before, "the read to hang")
    assert row.gate.close(), "a thread that hangs in a read is not inside"
    memory[:] = b"\xee" * PAYLOAD_BYTES
    fs.set()
    thread.join(CEILING_S)
    assert isinstance(came[0], Cancelled)
    assert memory == b"\xee" * PAYLOAD_BYTES


def test_a_write_that_storage_answers_late_makes_no_block(sick: tuple[FaultFS, BlockStore]) -> None:
    fs, store = sick
    memory = bytearray(content(8))
    row, before = row_of(memory, store), fs.seen["write"]
    fs.set(hang=("write",))
    thread, came = run(lambda: store.put(key(2), BlockBuffer(store.spec), row))
    eventually(lambda: fs.seen["write"] > before, "the write to hang")
    assert row.gate.close()
    memory[:] = b"\xee" * PAYLOAD_BYTES
    fs.set()
    thread.join(CEILING_S)
    assert isinstance(came[0], Cancelled)
    assert [file.name for file in Path(store.folder).glob("??/*")] == [layout.block_name(key(1))]


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ENOTCONN], ids=errno.errorcode.get)
def test_errors_of_storage_are_reasons(sick: tuple[FaultFS, BlockStore], number: int) -> None:
    fs, store = sick
    name = errno.errorcode[number]
    fs.set(errno=name, on=("read",))
    assert get(store, key(1))[0].reason == name.lower()
    fs.set(errno=name, on=("meta",))
    assert get(store, key(1))[0].reason == name.lower()
    fs.set()
    assert get(store, key(1)) == (BlockResult(True), content(7))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS], ids=errno.errorcode.get)
def test_refused_writes_are_reasons(sick: tuple[FaultFS, BlockStore], number: int) -> None:
    fs, store = sick
    fs.set(errno=errno.errorcode[number], on=("write",))
    assert put(store, key(2), content(8)).reason == errno.errorcode[number].lower()
    fs.set()
    assert put(store, key(2), content(8)).ok


# ---- large blocks, which are written past the cache ------------------------------------------------------------


@pytest.fixture
def large(tmp_path: Path, data_path: DataPath) -> Iterator[tuple[FaultFS, BlockStore, mmap.mmap]]:
    """A mount, an open namespace on it whose blocks go past the page cache, and a block's memory."""
    (tmp_path / "source").mkdir()
    size = WRITTEN_PAST_CACHE_BYTES
    with mounted(tmp_path / "source", tmp_path / "at") as fs, mmap.mmap(-1, size) as memory:
        memory[:] = random.Random(8).randbytes(size)
        store = open_store(
            tmp_path / "at" / "blocks", data_path, "rename_fsync", payload_bytes=size, stripe_bytes=size // 4
        )
        assert store.mount.is_written_past_cache
        yield fs, store, memory
        fs.set()


def test_a_large_block_comes_back(large: tuple[FaultFS, BlockStore, mmap.mmap]) -> None:
    _, store, memory = large
    assert store.put(key(2), BlockBuffer(store.spec), row_of(memory, store)).ok
    assert get(store, key(2)) == (BlockResult(True), memory[:])


def test_a_large_write_that_storage_answers_late_makes_no_block(
    large: tuple[FaultFS, BlockStore, mmap.mmap],
) -> None:
    """The kernel may take what has come into the row meanwhile straight from there."""
    fs, store, memory = large
    row, before = row_of(memory, store), fs.seen["write"]
    fs.set(hang=("write",))
    thread, came = run(lambda: store.put(key(2), BlockBuffer(store.spec), row))
    eventually(lambda: fs.seen["write"] > before, "the write to hang")
    assert row.gate.close()
    memory[:] = b"\xee" * len(memory)
    fs.set()
    thread.join(CEILING_S)
    assert isinstance(came[0], Cancelled)
    assert list(Path(store.folder).glob("??/*")) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO], ids=errno.errorcode.get)
def test_refused_large_writes_are_reasons(large: tuple[FaultFS, BlockStore, mmap.mmap], number: int) -> None:
    fs, store, memory = large
    fs.set(errno=errno.errorcode[number], on=("write",))
    row = row_of(memory, store)
    assert store.put(key(2), BlockBuffer(store.spec), row).reason == errno.errorcode[number].lower()
    assert list(Path(store.folder).glob("??/*")) == [] and store.mount.is_written_past_cache
    fs.set()
    assert store.put(key(2), BlockBuffer(store.spec), row).ok

# SPDX-License-Identifier: Apache-2.0
"""A user would lose: the memory of a pod, to pages of blocks that nobody reads there; or hits from that memory."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmd_storage_connector.blocks.buffer import BlockBuffer
from llmd_storage_connector.blocks.crew import Order
from llmd_storage_connector.blocks.data_path import DataPath, Move
from llmd_storage_connector.blocks.mount_probe import WRITTEN_PAST_CACHE_BYTES
from llmd_storage_connector.blocks.native import best_path
from llmd_storage_connector.blocks.page_cache import FORGET_AFTER_S, WrittenFiles
from llmd_storage_connector.blocks.result import LOADED
from llmd_storage_connector.blocks.store import BlockStore
from llmd_storage_core.strategies import EXCLUSIVE, LINK, RENAME, RENAME_FSYNC, STRATEGIES
from tests.unit.connector.conftest import Clock, address_of, content, get, key, open_store, put, row_of
from tests.unit.docs.commands import ROOT

_LIBC = ctypes.CDLL(None, use_errno=True)


def resident(path: str | Path) -> float:
    """Part of the file's pages that this node's page cache has."""
    with open(path, "r+b") as file:  # of a file that one may not write the kernel does not tell
        size = os.fstat(file.fileno()).st_size
        pages = mmap.mmap(file.fileno(), size)
    flags = (ctypes.c_ubyte * -(-size // mmap.PAGESIZE))()
    begin = ctypes.c_char.from_buffer(pages)
    failed = _LIBC.mincore(ctypes.c_void_p(ctypes.addressof(begin)), ctypes.c_size_t(size), flags)
    del begin
    pages.close()
    assert failed == 0, os.strerror(ctypes.get_errno())
    return sum(flag & 1 for flag in flags) / len(flags)


@pytest.fixture
def disk() -> Iterator[Path]:
    """A folder beside the checkout: /tmp may be memory itself."""
    (ROOT / "build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ROOT / "build") as folder:
        yield Path(folder)


def test_a_block_that_was_synced_leaves_nothing_where_reads_go_past_the_cache(disk: Path) -> None:
    store = open_store(disk / "root", best_path(), RENAME_FSYNC, direct_io="on")
    assert put(store, key(1), content(1)).ok
    assert resident(store.path(key(1))) == 0
    assert get(store, key(1))[1] == content(1)
    assert not store.mount.keeps_written


@pytest.mark.parametrize("strategy", [RENAME_FSYNC, LINK])
def test_where_reads_use_the_cache_it_is_left_to_the_pods_of_this_node(disk: Path, strategy: str) -> None:
    store = open_store(disk / "root", best_path(), strategy, direct_io="off")
    assert put(store, key(1), content(1)).ok
    assert resident(store.path(key(1))) == 1
    assert not store.mount.keeps_written


@pytest.mark.parametrize("strategy", [LINK, EXCLUSIVE, RENAME])
def test_what_was_not_synced_is_given_back_when_the_kernel_has_written_it(disk: Path, strategy: str) -> None:
    store, clock = open_store(disk / "root", best_path(), strategy, direct_io="on"), Clock()
    assert store.mount.keeps_written
    written = WrittenFiles(clock)
    for number in range(3):
        assert put(store, key(number), content(number)).ok
        written.add(store.path(key(number)))
        with open(store.path(key(number)), "rb") as file:
            os.fsync(file.fileno())  # what the kernel does by itself meanwhile
    Path(store.path(key(1))).unlink()  # the evictor was there
    clock.now += FORGET_AFTER_S - 1
    written.poll()
    assert resident(store.path(key(2))) == 1, "the kernel may not have written it yet"
    clock.now += 1
    written.poll()
    assert resident(store.path(key(0))) == resident(store.path(key(2))) == 0
    written.poll()


# ---- large blocks are written past the cache -------------------------------------------------------------------


LARGE = WRITTEN_PAST_CACHE_BYTES


def opened(
    root: Path, strategy: str, path: DataPath, payload_bytes: int = LARGE, direct_io: str = "auto"
) -> BlockStore:
    shape = {"payload_bytes": payload_bytes, "stripe_bytes": LARGE // 4}
    store = open_store(root, path, strategy, direct_io=direct_io, **shape)
    if direct_io == "auto" and not store.mount.is_read_past_cache:
        pytest.skip("the checkout's filesystem has no O_DIRECT")
    return store


@pytest.fixture
def memory() -> mmap.mmap:
    """Two blocks' worth of pages that are not alike."""
    pages = mmap.mmap(-1, 2 * LARGE)
    pages[:] = random.Random(7).randbytes(2 * LARGE)
    return pages


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_large_block_never_is_in_the_cache(disk: Path, data_path: DataPath, strategy: str, memory: mmap.mmap) -> None:
    store = opened(disk / "root", strategy, data_path)
    assert store.put(key(1), BlockBuffer(store.spec), row_of(memory, store)).ok
    assert resident(store.path(key(1))) == 0
    assert get(store, key(1)) == (LOADED, memory[:LARGE])
    assert not store.mount.keeps_written


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_nor_is_one_that_a_crew_wrote(disk: Path, strategy: str, memory: mmap.mmap) -> None:
    store = opened(disk / "root", strategy, best_path())
    gate = store.data_path.new_gate()
    run = store.run([(key(n), address_of(memory) + n * LARGE) for n in range(2)], gate)
    assert run is not None
    crew = store.data_path.new_crew()
    crew.limit(1)
    crew.add([Order(1, gate, True, 2, run)])
    crew.close()
    assert crew.work(BlockBuffer(store.spec)) is None and all(run.times)
    assert [resident(store.path(key(n))) for n in range(2)] == [0, 0]
    assert [get(store, key(n))[1] for n in range(2)] == [memory[:LARGE], memory[LARGE:]]


@pytest.mark.parametrize(
    ("why", "how"),
    [
        ("it is small", {"payload_bytes": LARGE // 2}),
        ("it does not end with a page", {"payload_bytes": LARGE + 512, "direct_io": "on"}),
        ("the operator said so", {"direct_io": "off"}),
    ],
)
def test_others_go_through_the_cache(
    disk: Path, data_path: DataPath, memory: mmap.mmap, why: str, how: dict[str, Any]
) -> None:
    store = opened(disk / "root", RENAME, data_path, **how)
    assert not store.mount.is_written_past_cache, why
    assert store.put(key(1), BlockBuffer(store.spec), row_of(memory, store)).ok
    assert resident(store.path(key(1))) == 1


def test_a_row_that_does_not_begin_on_a_page_goes_through_the_cache(
    disk: Path, data_path: DataPath, memory: mmap.mmap
) -> None:
    store = opened(disk / "root", RENAME, data_path)
    assert store.put(key(1), BlockBuffer(store.spec), row_of(memoryview(memory)[64:], store)).ok
    assert resident(store.path(key(1))) == 1
    assert get(store, key(1))[1] == memory[64 : 64 + LARGE]


class Picky:
    """A data path on a filesystem that takes a page past its cache, and no block."""

    def __init__(self, real: DataPath, says: int) -> None:
        self._real, self._says, self.name, self.read, self.refused = real, says, real.name, real.read, 0
        self.new_gate, self.new_crew = real.new_gate, real.new_crew

    def write(self, move: Move, fd: int, *, past_cache: bool = False) -> None:
        if past_cache:
            self.refused += 1
            raise OSError(self._says, os.strerror(self._says))
        self._real.write(move, fd)


@pytest.mark.parametrize("says", [errno.EINVAL, errno.EOPNOTSUPP])
def test_where_that_is_refused_after_all_they_are_stored_nevertheless(
    disk: Path, data_path: DataPath, memory: mmap.mmap, caplog: pytest.LogCaptureFixture, says: int
) -> None:
    picky = Picky(data_path, says)
    store = opened(disk / "root", RENAME, picky)
    for number in range(2):
        assert store.put(key(number), BlockBuffer(store.spec), row_of(memory, store)).ok
    assert picky.refused == 1 and caplog.text.count("cannot be written past the page cache") == 1
    assert store.mount.keeps_written and get(store, key(1))[1] == memory[:LARGE]


def test_of_too_many_files_the_oldest_are_left_to_the_kernel(disk: Path) -> None:
    clock = Clock()
    written = WrittenFiles(clock, most=1)
    for name in ("old", "new"):
        with open(disk / name, "wb") as file:
            file.write(bytes(8192))
            file.flush()
            os.fsync(file.fileno())
        written.add(str(disk / name))
    clock.now += FORGET_AFTER_S
    written.poll()
    assert (resident(disk / "old"), resident(disk / "new")) == (1, 0)

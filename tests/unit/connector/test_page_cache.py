# SPDX-License-Identifier: Apache-2.0
"""A user would lose: the memory of a pod, to pages of blocks that nobody reads there; or hits from that memory."""

from __future__ import annotations

import ctypes
import mmap
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmd_storage_connector.blocks.page_cache import FORGET_AFTER_S, WrittenFiles
from llmd_storage_connector.blocks.store import BlockStore
from llmd_storage_core.strategies import EXCLUSIVE, LINK, RENAME, RENAME_FSYNC
from tests.unit.connector.conftest import Clock, content, get, key, make_facts, make_spec, put
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


def open_store(root: Path, strategy: str, direct_io: str) -> BlockStore:
    facts = make_facts()
    store = BlockStore(root, facts, make_spec(facts), strategy, direct_io=direct_io)
    store.open()
    return store


def test_a_block_that_was_synced_leaves_nothing_where_reads_go_past_the_cache(disk: Path) -> None:
    store = open_store(disk / "root", RENAME_FSYNC, "on")
    assert put(store, key(1), content(1)).ok
    assert resident(store.path(key(1))) == 0
    assert get(store, key(1))[1] == content(1)
    assert not store.mount.keeps_written


@pytest.mark.parametrize("strategy", [RENAME_FSYNC, LINK])
def test_where_reads_use_the_cache_it_is_left_to_the_pods_of_this_node(disk: Path, strategy: str) -> None:
    store = open_store(disk / "root", strategy, "off")
    assert put(store, key(1), content(1)).ok
    assert resident(store.path(key(1))) == 1
    assert not store.mount.keeps_written


@pytest.mark.parametrize("strategy", [LINK, EXCLUSIVE, RENAME])
def test_what_was_not_synced_is_given_back_when_the_kernel_has_written_it(disk: Path, strategy: str) -> None:
    store, clock = open_store(disk / "root", strategy, "on"), Clock()
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

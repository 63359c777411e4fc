# SPDX-License-Identifier: Apache-2.0
"""What a user would lose when pods that share a claim are killed at any moment: right bytes, or the claim's space."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import multiprocessing
import os
import random
import time
from pathlib import Path

import pytest

from llmd_storage_connector.blocks import layout
from llmd_storage_connector.blocks.buffer import BlockBuffer
from llmd_storage_connector.blocks.data_path import Row
from llmd_storage_connector.blocks.format import BlockSpec
from llmd_storage_connector.blocks.store import BlockStore
from llmd_storage_connector.blocks.temp_files import collect_folder
from llmd_storage_core.scratch import is_scratch

pytestmark = pytest.mark.engine

FACTS = {"weights": "of the stress"}
# Two stripes and a rest: a block is cut short at any of several writes.
SPEC = BlockSpec(hashlib.sha256(b"the stress").digest(), payload_bytes=2_500_000)
KEYS, WRITERS, KILLS = 16, 4, 12
# Forked: a writer that is killed while Python starts has written nothing.
FORK = multiprocessing.get_context("fork")


def key_of(number: int) -> bytes:
    return hashlib.sha256(number.to_bytes(4, "big")).digest() + bytes(4)


@functools.cache
def payload_of(number: int) -> bytes:
    """Another content for each key, and for each place in it."""
    return random.Random(number).randbytes(SPEC.payload_bytes)


def open_store(root: str, way: str) -> BlockStore:
    store = BlockStore(Path(root), FACTS, SPEC, way)
    store.open()
    return store


def row_of(store: BlockStore, memory: bytearray) -> Row:
    """Requires: the memory outlives it."""
    return Row(ctypes.addressof(ctypes.c_char.from_buffer(memory)), store.data_path.new_gate())


def work(root: str, way: str, seed: int) -> None:
    """One writer, until it is killed: puts, gets, and removes as an evictor does. Exits 3 at a wrong byte."""
    store, buffer, rng = open_store(root, way), BlockBuffer(SPEC), random.Random(seed)
    while True:
        number = rng.randrange(KEYS)
        key, payload, seen = key_of(number), payload_of(number), bytearray(SPEC.payload_bytes)
        given = bytearray(payload)
        store.put(key, buffer, row_of(store, given))
        if store.load(key, buffer, row_of(store, seen)).ok and seen != payload:
            os._exit(3)
        if rng.random() < 0.3:
            Path(store.path(key)).unlink(missing_ok=True)


@pytest.mark.parametrize("way", ["rename_fsync", "link", "exclusive", "rename"])
def test_writers_that_are_killed_leave_right_blocks_and_nothing_else(tmp_path: Path, way: str) -> None:
    rng = random.Random(way)
    for number in range(KEYS):
        payload_of(number)  # made once, before the forks
    reader, buffer = open_store(str(tmp_path), way), BlockBuffer(SPEC)
    killed = 0
    writers = [_start(tmp_path, way, seed) for seed in range(WRITERS)]
    try:
        while killed < KILLS:
            time.sleep(rng.uniform(0.05, 0.4))
            victim = rng.randrange(WRITERS)
            assert writers[victim].is_alive(), f"a writer ended by itself ({writers[victim].exitcode})"
            writers[victim].kill()
            writers[victim].join()
            killed += 1
            writers[victim] = _start(tmp_path, way, WRITERS + killed)
            _all_right(reader, buffer)
    finally:
        for writer in writers:
            writer.kill()
            writer.join()
    found = _all_right(reader, buffer)
    assert found, "nothing was ever stored: this test could not fail"
    _only_scratch_beside_blocks(Path(reader.folder))
    for folder in layout.fanout_names():
        collect_folder(f"{reader.folder}/{folder}", 0.0, time.time() + 1)
    left = [file for file in Path(reader.folder).glob("??/*") if layout.key_of(file.name) is None]
    assert left == []


def _start(root: Path, way: str, seed: int) -> multiprocessing.process.BaseProcess:
    writer = FORK.Process(target=work, args=(str(root), way, seed), daemon=True)
    writer.start()
    return writer


def _all_right(store: BlockStore, buffer: BlockBuffer) -> int:
    """Read every block. Returns: how many were accepted, each of which is right."""
    accepted = 0
    for number in range(KEYS):
        seen = bytearray(SPEC.payload_bytes)
        if store.load(key_of(number), buffer, row_of(store, seen)).ok:
            assert seen == payload_of(number), f"block {number}"
            accepted += 1
    return accepted


def _only_scratch_beside_blocks(namespace: Path) -> None:
    for file in namespace.glob("??/*"):
        assert layout.key_of(file.name) is not None or is_scratch(file.name), file.name

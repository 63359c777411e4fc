# SPDX-License-Identifier: Apache-2.0
"""A user would lose: blocks, to a descriptor that was closed, or given to another file, under a thread's hands."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from llmd_storage_connector.blocks.folders import Folders


def test_a_folder_in_use_outlives_being_forgotten(tmp_path: Path) -> None:
    (tmp_path / "aa").mkdir()
    folders = Folders(str(tmp_path))
    folder = folders.at("aa")
    folders.forget()
    os.stat(".", dir_fd=folder.fd)
    fd = folder.fd
    assert folders.at("aa").fd != fd
    del folder
    assert not Path(f"/proc/self/fd/{fd}").exists(), "it would stay open for ever"


def test_threads_that_open_one_folder_at_once_get_one(tmp_path: Path) -> None:
    names = [f"{number:02x}" for number in range(64)]
    for name in names:
        (tmp_path / name).mkdir()
    folders, wrong, start = Folders(str(tmp_path)), list[str](), threading.Barrier(8)

    def use() -> None:
        start.wait()
        for name in names:
            folder = folders.at(name)
            if os.readlink(f"/proc/self/fd/{folder.fd}") != str(tmp_path / name):
                wrong.append(name)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=use) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert wrong == []


def test_many_threads_store_into_fresh_folders(tmp_path: Path) -> None:
    from llmd_storage_connector.blocks.store import BlockStore
    from tests.unit.connector.conftest import content, get, make_facts, make_spec, put

    facts = make_facts()
    store = BlockStore(tmp_path, facts, make_spec(facts), "rename")
    store.open()
    keys = [bytes([number % 256]) + number.to_bytes(31, "big") + bytes(4) for number in range(1024)]
    failed: list[str] = []

    def store_some(first: int) -> None:
        failed.extend(o.reason for key in keys[first::16] if not (o := put(store, key, content(key[0]))).ok)

    threads = [threading.Thread(target=store_some, args=(first,)) for first in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert all(get(store, key)[1] == content(key[0]) for key in keys)

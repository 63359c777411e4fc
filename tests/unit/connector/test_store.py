# SPDX-License-Identifier: Apache-2.0
"""A user would lose: tokens (wrong bytes served), or requests (a read that hangs or raises)."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from llmd_storage_connector import layout
from llmd_storage_connector.errors import Unusable
from llmd_storage_connector.publish import STRATEGIES
from llmd_storage_connector.store import BlockBuffer, BlockStore
from tests.unit.connector.conftest import fill, key, make_facts, make_spec


@pytest.fixture
def buffer(store: BlockStore) -> BlockBuffer:
    return BlockBuffer(store.spec)


@pytest.fixture
def path(store: BlockStore, buffer: BlockBuffer) -> Path:
    """File of a stored block, key(1), filled with 7."""
    fill(buffer, 7)
    assert store.put(key(1), buffer).ok
    fill(buffer, 0)
    return Path(store.path(key(1)))


def set_aside(path: Path) -> Path:
    return path.parents[1] / layout.DAMAGED / path.name


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_block_comes_back(tmp_path: Path, strategy: str) -> None:
    facts = make_facts()
    writer = BlockStore(tmp_path, facts, make_spec(facts), strategy)
    writer.open()
    buffer = BlockBuffer(writer.spec)
    stored = fill(buffer, 7)
    assert not writer.contains(key(1)).ok
    outcome = writer.put(key(1), buffer)
    assert (outcome.ok, outcome.existed) == (True, False)
    fill(buffer, 0)
    reader = BlockStore(tmp_path, facts, make_spec(facts), strategy)
    reader.open()
    assert reader.contains(key(1)).ok
    assert reader.get(key(1), buffer).ok
    assert bytes(buffer.payload) == stored


def test_an_absent_block_is_absent(store: BlockStore, buffer: BlockBuffer) -> None:
    assert store.contains(key(1)).reason == "absent"
    assert store.get(key(1), buffer).reason == "absent"


def test_storing_again_is_a_refresh(store: BlockStore, buffer: BlockBuffer, path: Path) -> None:
    os.utime(path, (1, 1))
    inode = path.stat().st_ino
    outcome = store.put(key(1), buffer)
    assert (outcome.ok, outcome.existed) == (True, True)
    assert path.stat().st_ino == inode
    assert time.time() - path.stat().st_mtime < 60


@pytest.mark.parametrize("at", [0, 20, 40, 80, 4095, 4096, -1], ids=lambda at: f"byte {at}")
def test_damage_is_a_miss_and_set_aside(store: BlockStore, buffer: BlockBuffer, path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    outcome = store.get(key(1), buffer)
    assert (outcome.ok, outcome.damaged) == (False, True)
    assert not path.exists()
    assert set_aside(path).read_bytes() == data
    fill(buffer, 7)
    assert store.put(key(1), buffer).ok
    assert store.get(key(1), buffer).ok


def test_damage_that_is_gone_at_the_second_look_is_forgiven(
    store: BlockStore, buffer: BlockBuffer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stale client must not take a good block away from everyone."""
    from llmd_storage_connector import store as store_module

    real = store_module._read_all
    reads = []

    def stale_once(fd: int, target: memoryview) -> int:
        length = real(fd, target)
        reads.append(length)
        if len(reads) == 1:
            target[-1] ^= 1
        return length

    monkeypatch.setattr(store_module, "_read_all", stale_once)
    assert store.get(key(1), buffer).ok
    assert path.exists()


def test_a_young_short_file_is_left_to_its_writer(store: BlockStore, buffer: BlockBuffer, path: Path) -> None:
    os.truncate(path, 5000)
    assert store.contains(key(1)).reason == "length"
    assert store.get(key(1), buffer).reason == "length"
    assert path.exists()


def test_an_old_short_file_is_replaced(store: BlockStore, buffer: BlockBuffer, path: Path) -> None:
    os.truncate(path, 5000)
    os.utime(path, (1, 1))
    fill(buffer, 7)
    assert store.put(key(1), buffer).ok
    assert store.get(key(1), buffer).ok


def test_a_longer_file_is_a_miss(store: BlockStore, buffer: BlockBuffer, path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\0")
    assert store.contains(key(1)).reason == "length"
    assert store.get(key(1), buffer).reason == "length"
    assert not path.exists()


def test_another_blocks_file_is_a_miss(store: BlockStore, buffer: BlockBuffer, path: Path) -> None:
    other = Path(store.path(key(2)))
    other.write_bytes(path.read_bytes())
    assert store.contains(key(2)).ok  # only reading tells
    assert store.get(key(2), buffer).reason == "key"


def test_another_namespaces_file_is_a_miss(tmp_path: Path, path: Path, buffer: BlockBuffer) -> None:
    facts = make_facts(dtype="float16")
    other = BlockStore(tmp_path / "root", facts, make_spec(facts), "link")
    other.open()
    Path(other.path(key(1))).write_bytes(path.read_bytes())
    assert other.get(key(1), buffer).reason == "identity"


@pytest.mark.parametrize("kind", ["symlink", "dangling", "fifo", "directory"])
@pytest.mark.timeout(20)
def test_what_is_not_a_file_is_never_followed_or_waited_for(
    store: BlockStore, buffer: BlockBuffer, path: Path, kind: str
) -> None:
    odd = Path(store.path(key(2)))
    match kind:
        case "symlink":
            odd.symlink_to(path)
        case "dangling":
            odd.symlink_to("/nowhere")
        case "fifo":
            os.mkfifo(odd)
        case "directory":
            odd.mkdir()
    assert store.contains(key(2)).reason == "not_regular"
    assert store.get(key(2), buffer).reason == "not_regular"
    fill(buffer, 7)
    assert not store.put(key(2), buffer).reason  # it says the block exists, and leaves it alone
    assert odd.is_symlink() or odd.exists()


def test_errors_are_reasons(store: BlockStore, buffer: BlockBuffer, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    from llmd_storage_connector import store as store_module

    def broken(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ESTALE, "stale")

    monkeypatch.setattr(store_module.os, "stat", broken)
    monkeypatch.setattr(store_module.os, "open", broken)
    monkeypatch.setattr(store_module.os, "utime", broken)
    assert store.contains(key(1)).reason == "estale"
    assert store.get(key(1), buffer).reason == "estale"
    assert store.put(key(1), buffer).reason == "estale"
    store.touch(key(1))


def test_a_namespace_that_was_swept_is_made_again(store: BlockStore, buffer: BlockBuffer, path: Path) -> None:
    import shutil

    shutil.rmtree(path.parents[1])
    fill(buffer, 7)
    assert store.put(key(1), buffer).ok
    assert store.get(key(1), buffer).ok


def test_the_manifest_says_whose_blocks_these_are(store: BlockStore, path: Path) -> None:
    stored = json.loads((path.parents[1] / layout.MANIFEST).read_text())
    assert stored["fields"] == make_facts()
    assert stored["identity"].startswith(path.parents[1].name)
    assert len(list(path.parents[1].iterdir())) == 256 + 2


def test_a_manifest_of_others_is_refused(store: BlockStore, tmp_path: Path, path: Path) -> None:
    (path.parents[1] / layout.MANIFEST).write_text('{"fields": {}}')
    with pytest.raises(Unusable, match="states another identity"):
        store.open()


def test_a_damaged_manifest_is_written_anew(store: BlockStore, path: Path) -> None:
    manifest = path.parents[1] / layout.MANIFEST
    manifest.write_text("{")
    store.open()
    assert json.loads(manifest.read_text())["fields"] == make_facts()


@pytest.mark.parametrize("mount", ["file", "nowhere"], ids=["not a directory", "claim not mounted"])
def test_an_unusable_root_says_what_to_set(tmp_path: Path, mount: str) -> None:
    (tmp_path / "file").write_text("")
    facts = make_facts()
    store = BlockStore(tmp_path / mount / "blocks", facts, make_spec(facts), "link")
    with pytest.raises(Unusable, match="mount the shared claim there"):
        store.open()

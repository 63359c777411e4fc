# SPDX-License-Identifier: Apache-2.0
"""A user would lose: tokens (wrong bytes served), or requests (a read that hangs or raises)."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from llmd_storage_connector.blocks import format as block_format
from llmd_storage_connector.blocks import layout, mount_probe
from llmd_storage_connector.blocks import store as store_module
from llmd_storage_connector.blocks.store import BlockStore
from llmd_storage_connector.errors import Cancelled, Unusable
from llmd_storage_core.strategies import AUTO, STRATEGIES
from tests.unit.connector.conftest import content, get, key, make_facts, make_spec, put


@pytest.fixture
def path(store: BlockStore) -> Path:
    """File of a stored block, key(1)."""
    assert put(store, key(1), content(7)).ok
    return Path(store.path(key(1)))


def set_aside(path: Path) -> Path:
    return path.parents[1] / layout.DAMAGED / path.name


@pytest.mark.parametrize("stripe_bytes", [4096, 8192, 1 << 20], ids=lambda size: f"stripes of {size}")
@pytest.mark.parametrize("strategy", [*STRATEGIES, AUTO])
def test_a_block_comes_back(tmp_path: Path, strategy: str, stripe_bytes: int) -> None:
    facts = make_facts()
    writer = BlockStore(tmp_path, facts, make_spec(facts, stripe_bytes=stripe_bytes), strategy)
    writer.open()
    assert not writer.contains(key(1)).ok
    outcome = put(writer, key(1), content(7))
    assert (outcome.ok, outcome.already_stored) == (True, False)
    reader = BlockStore(tmp_path, facts, make_spec(facts, stripe_bytes=stripe_bytes), strategy)
    reader.open()
    assert reader.contains(key(1)).ok
    outcome, payload = get(reader, key(1))
    assert outcome.ok
    assert payload == content(7)


@pytest.mark.parametrize("direct_io", ["auto", "on", "off"])
def test_reading_past_the_page_cache_reads_the_same(tmp_path: Path, direct_io: str) -> None:
    facts = make_facts()
    store = BlockStore(tmp_path, facts, make_spec(facts), AUTO, direct_io=direct_io)
    store.open()
    assert put(store, key(1), content(7)).ok
    assert get(store, key(1))[1] == content(7)


def test_an_absent_block_is_absent(store: BlockStore) -> None:
    assert store.contains(key(1)).reason == "absent"
    assert get(store, key(1))[0].reason == "absent"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_storing_again_is_a_refresh(tmp_path: Path, strategy: str) -> None:
    facts = make_facts()
    store = BlockStore(tmp_path, facts, make_spec(facts), strategy)
    store.open()
    put(store, key(1), content(7))
    path = Path(store.path(key(1)))
    long_ago = 1
    os.utime(path, (long_ago, long_ago))
    inode = path.stat().st_ino
    outcome = put(store, key(1), content(7))
    assert (outcome.ok, outcome.already_stored) == (True, True)
    assert path.stat().st_ino == inode
    assert path.stat().st_mtime > long_ago


def test_a_block_nobody_wants_any_more_is_not_published(store: BlockStore) -> None:
    """Its rows may hold another block by now."""

    def source(at: int, length: int) -> tuple[memoryview, int]:
        raise Cancelled

    with pytest.raises(Cancelled):
        store.put(key(1), source)
    assert [path for path in Path(store.folder).rglob("*") if path.is_file() and path.name != layout.MANIFEST] == []


def test_what_changed_while_its_write_hung_is_never_served(store: BlockStore) -> None:
    """The rows of a store that was given up belong to another block while the write is still under way."""
    chunk = bytearray(content(7))

    def source(at: int, length: int) -> tuple[memoryview, int]:
        found = memoryview(chunk)[at : at + length]
        checksum = block_format.checksum(found)
        chunk[at] ^= 1
        return found, checksum

    assert store.put(key(1), source).ok
    assert get(store, key(1))[0].reason == "payload_checksum"


@pytest.mark.parametrize("at", [0, 20, 40, 80, 4095, 4096, -1], ids=lambda at: f"byte {at}")
def test_damage_is_a_miss_and_set_aside(store: BlockStore, path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    outcome, _ = get(store, key(1))
    assert (outcome.ok, outcome.corrupt) == (False, True)
    assert path.exists(), "another node may have been writing it: it is read again first"
    outcome, _ = get(store, key(1), again=True)
    assert (outcome.ok, outcome.corrupt) == (False, True)
    assert not path.exists()
    assert set_aside(path).read_bytes() == data
    assert put(store, key(1), content(7)).ok
    assert get(store, key(1))[0].ok


def test_where_files_are_made_under_their_name_a_young_damaged_one_may_be_someones_work(tmp_path: Path) -> None:
    facts = make_facts()
    store = BlockStore(tmp_path, facts, make_spec(facts), "exclusive")
    store.open()
    path = Path(store.path(key(1)))
    path.write_bytes(bytes(store.spec.file_bytes))  # the header comes last
    assert get(store, key(1), again=True)[0].reason == "magic"
    assert path.exists()
    os.utime(path, (1, 1))
    assert get(store, key(1), again=True)[0].reason == "magic"
    assert not path.exists()


def test_a_block_that_another_is_writing_is_not_taken_for_stored(tmp_path: Path) -> None:
    facts = make_facts()
    store = BlockStore(tmp_path, facts, make_spec(facts), "exclusive")
    store.open()
    Path(store.path(key(1))).write_bytes(b"the beginning")
    assert put(store, key(1), content(7)).reason == "unfinished"
    os.utime(store.path(key(1)), (1, 1))
    assert put(store, key(1), content(7)).ok
    assert get(store, key(1))[1] == content(7)


def test_a_young_short_file_is_left_to_its_writer(store: BlockStore, path: Path) -> None:
    os.truncate(path, 5000)
    assert store.contains(key(1)).reason == "length"
    assert get(store, key(1), again=True)[0].reason == "length"
    assert path.exists()


def test_an_old_short_file_is_replaced(store: BlockStore, path: Path) -> None:
    os.truncate(path, 5000)
    os.utime(path, (1, 1))
    assert put(store, key(1), content(7)).ok
    assert get(store, key(1))[0].ok


def test_a_longer_file_is_a_miss(store: BlockStore, path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\0")
    assert store.contains(key(1)).reason == "length"
    assert get(store, key(1), again=True)[0].reason == "length"
    assert not path.exists()


def test_another_blocks_file_is_a_miss(store: BlockStore, path: Path) -> None:
    other = Path(store.path(key(2)))
    other.write_bytes(path.read_bytes())
    assert store.contains(key(2)).ok  # only reading tells
    assert get(store, key(2))[0].reason == "key"


def test_stripes_of_two_blocks_are_never_mixed(store: BlockStore, path: Path) -> None:
    put(store, key(2), content(90))
    mixed = path.read_bytes()[:-4096] + Path(store.path(key(2))).read_bytes()[-4096:]
    path.write_bytes(mixed)
    assert get(store, key(1))[0].reason == "payload_checksum"


def test_another_namespaces_file_is_a_miss(tmp_path: Path, path: Path) -> None:
    facts = make_facts(dtype="float16")
    other = BlockStore(tmp_path / "root", facts, make_spec(facts), "link")
    other.open()
    Path(other.path(key(1))).write_bytes(path.read_bytes())
    assert get(other, key(1))[0].reason == "identity"


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file away")
def test_a_file_of_someone_else_is_a_miss(store: BlockStore, path: Path) -> None:
    os.chown(path, 4242, 4242)
    assert store.contains(key(1)).reason == get(store, key(1))[0].reason == "owner"
    os.chown(path, 4242, os.stat(store.folder).st_gid)  # another user of the claim's group
    assert get(store, key(1))[0].ok


@pytest.mark.parametrize("kind", ["symlink", "dangling", "fifo", "directory"])
@pytest.mark.timeout(20)
def test_what_is_not_a_file_is_never_followed_or_waited_for(store: BlockStore, path: Path, kind: str) -> None:
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
    assert get(store, key(2))[0].reason == "not_regular"
    assert not put(store, key(2), content(7)).ok
    assert odd.is_symlink() or odd.exists()


def test_errors_are_reasons(store: BlockStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ESTALE, "stale")

    monkeypatch.setattr(store_module.os, "stat", broken)
    monkeypatch.setattr(store_module.os, "open", broken)
    monkeypatch.setattr(store_module.os, "utime", broken)
    assert store.contains(key(1)).reason == "estale"
    assert get(store, key(1))[0].reason == "estale"
    assert put(store, key(1), content(7)).reason == "estale"
    store.refresh_mtime(key(1))


def test_a_namespace_that_was_swept_is_made_again(store: BlockStore, path: Path) -> None:
    import shutil

    shutil.rmtree(path.parents[1])
    assert put(store, key(1), content(7)).ok
    assert get(store, key(1))[0].ok


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


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES], ids=errno.errorcode.get)
def test_a_namespace_that_takes_no_files_is_read_from(
    store: BlockStore, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    real = os.open

    def refuse(path: object, flags: int, *args: object, **kwargs: object) -> int:
        if flags & os.O_CREAT:
            raise OSError(number, os.strerror(number))
        return real(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    reader = BlockStore(tmp_path / "root", make_facts(), store.spec, AUTO)
    reader.open()
    assert get(reader, key(1))[1] == content(7)
    assert put(reader, key(2), content(7)).reason == errno.errorcode[number].lower()
    monkeypatch.undo()
    assert put(reader, key(2), content(7)).ok


def test_a_local_disk_is_quick_and_a_far_one_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More threads than a mount can use take the interpreter from the engine."""
    facts = make_facts()
    for seconds, quick in ((0.0001, True), (0.02, False)):
        monkeypatch.setattr(mount_probe, "create_remove_seconds", lambda folder, took=seconds: took)
        store = BlockStore(tmp_path, facts, make_spec(facts), AUTO)
        store.open()
        assert store.is_low_latency is quick
    monkeypatch.undo()
    assert 0 < mount_probe.create_remove_seconds(str(tmp_path)) < 60
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []

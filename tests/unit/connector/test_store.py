# SPDX-License-Identifier: Apache-2.0
"""A user would lose: tokens (wrong bytes served), or requests (a read that hangs or raises)."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llmd_storage_connector.blocks import layout, mount_probe
from llmd_storage_connector.blocks import store as store_module
from llmd_storage_connector.blocks.buffer import BlockBuffer
from llmd_storage_connector.blocks.data_path import BlockRead, DataPath
from llmd_storage_connector.blocks.store import BlockStore
from llmd_storage_connector.blocks.unidentified import UnidentifiedStore
from llmd_storage_connector.errors import Cancelled, Pending, Unusable
from llmd_storage_core.folders import FOLDER_MODE
from llmd_storage_core.publish import FILE_MODE
from llmd_storage_core.strategies import AUTO, STRATEGIES
from tests.unit.connector.conftest import (
    PAYLOAD_BYTES,
    STRIPE_BYTES,
    content,
    get,
    key,
    make_facts,
    make_spec,
    open_store,
    put,
    row_of,
)


@pytest.fixture
def path(store: BlockStore) -> Path:
    """File of a stored block, key(1)."""
    assert put(store, key(1), content(7)).ok
    return Path(store.path(key(1)))


def set_aside(path: Path) -> Path:
    return path.parents[1] / layout.DAMAGED / path.name


@pytest.mark.parametrize("stripe_bytes", [4096, 8192, 1 << 20], ids=lambda size: f"stripes of {size}")
@pytest.mark.parametrize("strategy", [*STRATEGIES, AUTO])
def test_a_block_comes_back(tmp_path: Path, data_path: DataPath, strategy: str, stripe_bytes: int) -> None:
    writer = open_store(tmp_path, data_path, strategy, stripe_bytes=stripe_bytes)
    assert not writer.contains(key(1)).ok
    outcome = put(writer, key(1), content(7))
    assert (outcome.ok, outcome.already_stored) == (True, False)
    reader = open_store(tmp_path, data_path, strategy, stripe_bytes=stripe_bytes)
    assert reader.contains(key(1)).ok
    outcome, payload = get(reader, key(1))
    assert outcome.ok
    assert payload == content(7)


@pytest.mark.parametrize("direct_io", ["auto", "on", "off"])
def test_reading_past_the_page_cache_reads_the_same(tmp_path: Path, data_path: DataPath, direct_io: str) -> None:
    facts = make_facts()
    store = BlockStore(tmp_path, facts, make_spec(facts), AUTO, direct_io=direct_io, path=data_path)
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
    memory = bytearray(content(7))
    row = row_of(memory, store)
    assert row.gate.close()
    with pytest.raises(Cancelled):
        store.put(key(1), BlockBuffer(store.spec), row)
    assert [path for path in Path(store.folder).rglob("*") if path.is_file() and path.name != layout.MANIFEST] == []


def test_a_read_that_is_late_touches_no_row(store: BlockStore, path: Path) -> None:
    memory = bytearray(PAYLOAD_BYTES)
    row = row_of(memory, store)
    assert row.gate.close()
    with pytest.raises(Cancelled):
        store.load(key(1), BlockBuffer(store.spec), row)
    assert memory == bytes(PAYLOAD_BYTES)
    assert row.gate.copied == 0


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


@pytest.mark.parametrize(
    "theirs",
    [
        {"stripe_bytes": 2 * STRIPE_BYTES},
        {"stripe_bytes": 8},  # a longer header, and so a longer file
        {"ranks": 4},
        {"payload_bytes": 2 * PAYLOAD_BYTES},
    ],
    ids=str,
)
def test_a_whole_block_of_another_shape_is_a_miss_and_stays(store: BlockStore, theirs: dict[str, int]) -> None:
    """Two engines of one identity moved each other's good blocks out of the way, for ever."""
    facts = make_facts()
    spec = make_spec(facts, **theirs)
    other = BlockStore(store._root, facts, spec, "link")
    other.open()
    assert put(other, key(1), bytes(spec.payload_bytes)).ok
    path, before = Path(store.path(key(1))), Path(store.path(key(1))).read_bytes()
    os.utime(path, (1, 1))
    outcome, _ = get(store, key(1), again=True)
    assert (outcome.ok, outcome.reason, outcome.corrupt) == (False, "shape", False)
    if not store.contains(key(1)).ok:  # only reading tells where the length is the same
        assert put(store, key(1), content(7)).reason == "shape"
    assert path.read_bytes() == before
    path.write_bytes(before[:60] + b"\x01" + before[61:])
    get(store, key(1), again=True)
    assert not path.exists(), "damaged as well: out of the way"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_write_that_is_late_gets_no_name(
    tmp_path: Path, data_path: DataPath, strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its store was reported as failed while the last write hung: the block may not appear hours later."""
    store = open_store(tmp_path, data_path, strategy)
    memory = bytearray(content(7))
    row, real, written = row_of(memory, store), data_path.write, []

    def late(*arguments: Any, **how: Any) -> None:
        written.append(real(*arguments, **how))
        row.gate.close()

    monkeypatch.setattr(data_path, "write", late)
    with pytest.raises(Cancelled):
        store.put(key(1), BlockBuffer(store.spec), row)
    assert written
    assert not Path(store.path(key(1))).exists()
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.name != layout.MANIFEST] == []


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_files_and_folders_are_the_groups_whatever_the_umask(tmp_path: Path, strategy: str) -> None:
    """Two users on one claim: the other's hit must be able to mark a block as used, or the evictor takes it first."""
    code = (
        "import os, sys; os.umask(0o077)\n"
        "from pathlib import Path\n"
        "from llmd_storage_connector.blocks.store import BlockStore\n"
        "from llmd_storage_connector.blocks.buffer import BlockBuffer\n"
        "from llmd_storage_connector.blocks.crew import Order\n"
        "from tests.unit.connector.conftest import address_of, content, key, make_facts, make_spec, put\n"
        "facts = make_facts()\n"
        "store = BlockStore(Path(sys.argv[1]), facts, make_spec(facts), sys.argv[2]); store.open()\n"
        "assert put(store, key(1), content(7)).ok\n"
        "row = bytearray(content(8))\n"
        "run = store.run([(key(2), address_of(row))], store.data_path.new_gate())\n"
        "crew = store.data_path.new_crew(); crew.add([Order(1, run.gate, True, 1, run)]); crew.close()\n"
        "assert crew.work(BlockBuffer(store.spec)) is None\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "root"), strategy], check=True, cwd=Path.cwd())
    for path in (tmp_path / "root").rglob("*"):
        expected = FOLDER_MODE if path.is_dir() else FILE_MODE
        assert stat.S_IMODE(path.stat().st_mode) == expected, path


def test_where_a_block_cannot_be_marked_as_used_it_is_said_once(
    store: BlockStore, path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "utime", forbidden)
    for _ in range(3):
        store.refresh_mtime(key(1))
    assert len([one for one in caplog.records if "cannot be marked as used" in one.getMessage()]) == 1


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
    monkeypatch.setattr(store.data_path, "read", broken)
    assert store.contains(key(1)).reason == "estale"
    assert get(store, key(1))[0].reason == "estale"
    assert put(store, key(1), content(7)).reason == "estale"
    store.refresh_mtime(key(1))


def test_a_folder_that_went_stale_under_its_descriptor_is_opened_anew(
    store: BlockStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS: the folder was made anew, by a restore or another server, and every file in it is ESTALE for ever."""
    stale = store._folders.at(path.parent.name).fd
    real_stat, real_read = os.stat, store.data_path.read

    def stat_at(name: object, *args: object, **kwargs: object) -> os.stat_result:
        if kwargs.get("dir_fd") == stale:
            raise OSError(errno.ESTALE, "Stale file handle")
        return real_stat(name, *args, **kwargs)

    def read_at(move: object, folder: int, *args: Any) -> BlockRead:
        if folder == stale:
            raise OSError(errno.ESTALE, "Stale file handle")
        return real_read(move, folder, *args)

    kept = store._folders.at(path.parent.name)  # so that its number is not given out again
    monkeypatch.setattr(os, "stat", stat_at)
    monkeypatch.setattr(store.data_path, "read", read_at)
    assert store.contains(key(1)).ok
    assert get(store, key(1))[1] == content(7)
    assert kept.fd == stale


def test_a_block_is_stored_although_its_folder_went_stale(
    store: BlockStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look whether it is there and the writing of it."""
    kept = store._folders.at(path.parent.name)
    real_open = os.open

    def open_at(name: object, *args: object, **kwargs: object) -> int:
        if kwargs.get("dir_fd") == kept.fd:
            raise OSError(errno.ESTALE, "Stale file handle")
        return real_open(name, *args, **kwargs)

    path.unlink()
    monkeypatch.setattr(os, "open", open_at)
    assert put(store, key(1), content(8)).ok
    monkeypatch.undo()
    assert get(store, key(1))[1] == content(8)


def test_a_manifest_names_the_model_that_was_first_named(store: BlockStore, path: Path, tmp_path: Path) -> None:
    """The evictor's rules go by it, and a copy in a folder of any name has the same blocks."""
    facts, manifest = make_facts(), path.parents[1] / layout.MANIFEST
    assert "model" not in json.loads(manifest.read_text())
    for name in ("Qwen/Odd", "somebody/renamed", ""):
        BlockStore(tmp_path / "root", facts, make_spec(facts), "link", model=name).open()
        assert json.loads(manifest.read_text())["model"] == "Qwen/Odd"


def test_a_store_of_weights_that_are_still_read_touches_nothing(tmp_path: Path) -> None:
    facts = make_facts()
    known = False

    def identify() -> dict[str, object]:
        if not known:
            raise Pending("being read")
        return facts

    store = UnidentifiedStore(tmp_path, identify, make_spec({}), "link")
    with pytest.raises(Pending):
        store.open()
    assert list(tmp_path.iterdir()) == []
    known = True
    store.open()
    assert put(store, key(1), content(7)).ok
    same = BlockStore(tmp_path, facts, make_spec(facts), "link")
    same.open()
    assert get(same, key(1))[1] == content(7)


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


@pytest.mark.parametrize("left", [(), (layout.DAMAGED,), ("01", layout.DAMAGED)], ids=["none", "damaged", "some"])
def test_a_copy_without_its_empty_folders_is_completed(store: BlockStore, left: tuple[str, ...]) -> None:
    """As tools for object storage make one; it was said that no claim was mounted there."""
    put(store, key(1), content(7))
    namespace = Path(store.folder)
    for folder in [folder for folder in namespace.iterdir() if folder.is_dir() and folder.name not in left]:
        if not any(folder.iterdir()):
            folder.rmdir()
    copy = BlockStore(namespace.parent, make_facts(), store.spec, "link")
    copy.open()
    assert get(copy, key(1))[1] == content(7)
    assert put(copy, key(2), content(8)).ok
    assert {folder.name for folder in namespace.iterdir() if folder.is_dir()} == {
        layout.DAMAGED,
        *layout.fanout_names(),
    }


@pytest.mark.parametrize("left", [(), (layout.DAMAGED,)], ids=["none", "damaged"])
def test_a_copy_that_cannot_be_completed_says_why(
    store: BlockStore, left: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    namespace = Path(store.folder)
    for folder in [folder for folder in namespace.iterdir() if folder.is_dir() and folder.name not in left]:
        folder.rmdir()

    def refuse(path: Path, *args: object, **kwargs: object) -> None:
        if not path.exists():
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        raise FileExistsError

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(
        Unusable, match=r"has a manifest, but lacks folders that cannot be made \(Read-only file system"
    ):
        BlockStore(namespace.parent, make_facts(), store.spec, "link").open()


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
        assert store.mount.is_low_latency is quick
    monkeypatch.undo()
    assert 0 < mount_probe.create_remove_seconds(str(tmp_path)) < 60
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []

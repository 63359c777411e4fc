# SPDX-License-Identifier: Apache-2.0
"""A user would lose: what the reference in Python promises, wherever the native code did anything else.

Every test runs with the reference and with each library that this processor can run; what fails, fails the same.
"""

from __future__ import annotations

import ctypes
import dataclasses
import errno
import logging
import mmap
import os
import platform
import resource
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from llmd_storage_connector.blocks import layout, native
from llmd_storage_connector.blocks.buffer import BlockBuffer
from llmd_storage_connector.blocks.crew import Order
from llmd_storage_connector.blocks.data_path import BlockRead, DataPath, Move, Row
from llmd_storage_connector.blocks.file_check import may_be_read
from llmd_storage_connector.blocks.files import READ
from llmd_storage_connector.blocks.folders import Folder
from llmd_storage_connector.blocks.format import MAX_KEY_BYTES, BlockSpec
from llmd_storage_connector.blocks.mount_probe import Mount
from llmd_storage_connector.blocks.native import NativePath, best_path, library_file
from llmd_storage_connector.blocks.python_path import PythonPath
from llmd_storage_connector.blocks.run import Run
from llmd_storage_connector.errors import Cancelled, Corrupt, Rule
from llmd_storage_core import publish
from llmd_storage_core.strategies import STRATEGIES
from tests.unit.connector.conftest import address_of
from tests.unit.connector.test_format_properties import Block, blocks

MACHINE = platform.machine()
LIBRARIES = {"x86_64": ["x86_64.so", "x86_64_v3.so"], "aarch64": ["aarch64.so"]}.get(MACHINE, [])
if MACHINE == "x86_64" and library_file(MACHINE, native._processor_flags).name == "x86_64.so":
    LIBRARIES.remove("x86_64_v3.so")
REFERENCE = PythonPath()
NATIVE = {name: NativePath(native._FOLDER / name) for name in LIBRARIES}
PATHS: dict[str, DataPath] = {"python": REFERENCE, **NATIVE}
MOUNT = Mount(owners=frozenset({os.geteuid()}), group=os.getegid(), read_flags=READ)
BLOCK = Block(BlockSpec(bytes(range(32)), 10_000, 2, 4096), b"a key of a block", bytes(i % 251 for i in range(10_000)))
NAME = "a block.kvb"


@pytest.fixture(params=PATHS)
def path(request: pytest.FixtureRequest) -> DataPath:
    return PATHS[request.param]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


# A row is an address: its memory has to stay.
_KEPT: list[bytearray] = []


def a_move(path: DataPath, block: Block, row: bytearray) -> Move:
    _KEPT.append(row)
    return Move(block.spec, block.key, BlockBuffer(block.spec), Row(address_of(row), path.new_gate()))


def written(path: DataPath, block: Block, file: Path) -> bytes:
    row = bytearray(block.payload)
    with file.open("wb", buffering=0) as out:
        path.write(a_move(path, block, row), out.fileno())
    assert row == block.payload
    return file.read_bytes()


def verdict(path: DataPath, block: Block, data: bytes) -> tuple[bool, str, bytes]:
    """Of a file with these bytes: whether it may be read, why it is refused, and what is in the row if it is not."""
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / NAME).write_bytes(data)
        folder = os.open(scratch, os.O_RDONLY)
        try:
            row = bytearray(block.spec.payload_bytes)
            read = path.read(a_move(path, block, row), folder, NAME, MOUNT)
        finally:
            os.close(folder)
    candidate = may_be_read(read.found, block.spec, MOUNT)
    return candidate, f"{type(read.failure)} {read.failure}", bytes(row) if candidate and not read.failure else b""


def same_verdict(block: Block, data: bytes) -> tuple[bool, str, bytes]:
    expected = verdict(REFERENCE, block, data)
    for name, path in NATIVE.items():
        assert verdict(path, block, data) == expected, name
    return expected


# ---- the same bytes ---------------------------------------------------------------------------------------


@given(block=blocks())
def test_what_is_written_is_the_format_bit_for_bit(block: Block) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        for name, path in PATHS.items():
            assert written(path, block, Path(scratch) / name) == block.file, name


@given(block=blocks())
def test_what_was_stored_comes_back(block: Block) -> None:
    assert same_verdict(block, block.file) == (True, "<class 'NoneType'> None", block.payload)


@pytest.mark.parametrize("stripe_bytes", [1 << 12, 1 << 18, 1 << 21], ids="stripes of {}".format)
@pytest.mark.parametrize(
    "size",
    [1, 3, 8, 16, 128, 240, 241, 256, 257, 1024, 1025, 4097, 131_071, 131_072, 131_073, 131_328, 131_329, 2_500_000],
)
def test_every_length_hashes_as_xxhash_does(
    path: DataPath, tmp_path: Path, folder: int, size: int, stripe_bytes: int
) -> None:
    """Where a stripe is moved in pieces, and where the checksum goes over to another way of hashing."""
    payload = xxhash.xxh3_64_digest(b"seed") * (size // 8 + 1)
    block = Block(BlockSpec(bytes(32), size, 1, stripe_bytes), b"key", payload[:size])
    assert written(path, block, tmp_path / NAME) == block.file
    row = bytearray(size)
    assert path.read(a_move(path, block, row), folder, NAME, MOUNT).failure is None
    assert row == block.payload


@given(block=blocks(), before=st.integers(0, 200), after=st.integers(0, 200))
def test_a_row_may_begin_anywhere_and_nothing_beside_it_is_touched(block: Block, before: int, after: int) -> None:
    size = len(block.payload)
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / NAME).write_bytes(block.file)
        folder = os.open(scratch, os.O_RDONLY)
        try:
            for name, path in PATHS.items():
                memory = bytearray(b"\xee" * (before + size + after))
                row = Row(address_of(memory) + before, path.new_gate())
                move = Move(block.spec, block.key, BlockBuffer(block.spec), row)
                assert path.read(move, folder, NAME, MOUNT).failure is None
                assert memory == b"\xee" * before + block.payload + b"\xee" * after, name
        finally:
            os.close(folder)


# ---- several, one after the other ------------------------------------------------------------------------------

SIZE = 10_000


def stored(folder: Path, *numbers: int) -> None:
    """Blocks whose keys and bytes are told by their numbers, in files as the layout names them."""
    for number in numbers:
        (folder / layout.block_name(key_of(number))).write_bytes(
            Block(BLOCK.spec, key_of(number), payload_of(number)).file
        )


def key_of(number: int) -> bytes:
    return bytes([255 - number]) * 36


def payload_of(number: int) -> bytes:
    return bytes((number + index) % 253 for index in range(SIZE))


@pytest.fixture(params=NATIVE)
def quick(request: pytest.FixtureRequest) -> DataPath:
    """A path that moves runs without Python; the reference leaves them to it."""
    return PATHS[request.param]


def a_run(path: DataPath, folder: Path, memory: bytearray) -> Run:
    _KEPT.append(memory)
    count, begin = len(memory) // SIZE, address_of(memory)
    blocks = [(key_of(number), begin + number * SIZE) for number in range(count)]
    times = (ctypes.c_int64 * count)()
    return Run(BLOCK.spec, MOUNT, blocks, [Folder(str(folder))] * count, path.new_gate(), times)


def carry_out(path: DataPath, run: Run) -> bool:
    """Have the run done by a crew of this thread alone: stored, where its mount can be published on.

    Returns: whether something of it is left to Python.
    """
    crew = path.new_crew()
    crew.limit(1)
    crew.add([Order(7, run.gate, bool(run.mount.publish_strategy), len(run.blocks), run)])
    crew.close()
    buffer = BlockBuffer(run.spec)
    returned = crew.work(buffer)
    if returned is not None:
        assert returned == (7, next(index for index, time in enumerate(run.times) if not time))
        assert crew.work(buffer) is None
    assert crew.wait() == [7]
    return returned is not None


def test_a_run_of_blocks_comes_into_its_rows(quick: DataPath, tmp_path: Path) -> None:
    stored(tmp_path, *range(5))
    os.utime(tmp_path / layout.block_name(key_of(3)), (7, 7))
    os.utime(tmp_path / layout.block_name(key_of(4)), (0, 0))
    memory = bytearray(5 * SIZE)
    run = a_run(quick, tmp_path, memory)
    carry_out(quick, run)
    assert memory == b"".join(map(payload_of, range(5)))
    assert list(run.times)[3:] == [7, 1], "when they were changed; never 0"
    assert all(abs(time - os.stat(tmp_path).st_mtime) < 60 for time in list(run.times)[:3])
    assert run.gate.copied == 5 * SIZE and run.gate.close()


@pytest.mark.parametrize("harm", ["gone", "short", "a flipped bit", "another block", "a folder"])
def test_a_run_ends_at_the_first_block_that_is_not_as_it_should_be(quick: DataPath, tmp_path: Path, harm: str) -> None:
    stored(tmp_path, *range(5))
    file = tmp_path / layout.block_name(key_of(2))
    data = file.read_bytes()
    file.unlink()
    if harm == "short":
        file.write_bytes(data[:-1])
    elif harm == "a flipped bit":
        file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif harm == "another block":
        os.link(tmp_path / layout.block_name(key_of(3)), file)
    elif harm == "a folder":
        file.mkdir()
    memory = bytearray(b"\xee" * 5 * SIZE)
    run = a_run(quick, tmp_path, memory)
    carry_out(quick, run)
    assert [bool(time) for time in run.times] == [True, True, False, False, False]
    assert memory[: 2 * SIZE] == payload_of(0) + payload_of(1)
    assert memory[3 * SIZE :] == b"\xee" * 2 * SIZE, "what is behind it was touched"


def test_a_run_whose_gate_is_closed_touches_nothing(quick: DataPath, tmp_path: Path) -> None:
    stored(tmp_path, 0, 1)
    memory = bytearray(2 * SIZE)
    run = a_run(quick, tmp_path, memory)
    run.gate.close()
    carry_out(quick, run)
    assert list(run.times) == [0, 0] and memory == bytes(2 * SIZE)


@given(key=st.binary(min_size=1, max_size=MAX_KEY_BYTES))
def test_a_run_finds_a_block_by_any_key(key: bytes) -> None:
    block = Block(BLOCK.spec, key, BLOCK.payload)
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / layout.block_name(key)[-255:]).write_bytes(block.file)
        for name, path in NATIVE.items():
            memory = bytearray(SIZE)
            run = a_run(path, Path(scratch), memory)._replace(blocks=[(key, address_of(memory))])
            carry_out(path, run)
            fits = len(layout.block_name(key)) <= 255
            assert (memory == block.payload) is fits, name


# ---- published, one after the other --------------------------------------------------------------------------


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_run_of_rows_becomes_blocks_bit_for_bit(quick: DataPath, tmp_path: Path, strategy: str) -> None:
    run = a_run(quick, tmp_path, bytearray(b"".join(map(payload_of, range(5)))))
    for flags in (READ, READ | os.O_DIRECT):
        carry_out(quick, run._replace(mount=dataclasses.replace(MOUNT, publish_strategy=strategy, read_flags=flags)))
        assert list(run.times) == [1] * 5
        for number in range(5):
            file = tmp_path / layout.block_name(key_of(number))
            assert file.read_bytes() == Block(BLOCK.spec, key_of(number), payload_of(number)).file
            assert file.stat().st_mode & 0o777 == publish.FILE_MODE
            file.unlink()
        assert names(tmp_path) == set(), "a file of another name stayed"
    assert run.gate.close()


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(
    "harm", ["there already", "a link in its place", "no folder", "no room", "nobody waits for it"]
)
def test_a_run_ends_at_the_first_row_that_cannot_become_a_block_and_leaves_nothing_of_it(
    quick: DataPath, tmp_path: Path, strategy: str, harm: str
) -> None:
    run = a_run(quick, tmp_path, bytearray(b"".join(map(payload_of, range(4)))))
    third, before = tmp_path / layout.block_name(key_of(2)), resource.getrlimit(resource.RLIMIT_FSIZE)
    stays = set[str]()
    if harm == "there already":
        third.write_bytes(b"somebody's")
        stays = {third.name}
    elif harm == "a link in its place":
        third.symlink_to(tmp_path / "elsewhere")
        stays = {third.name}
    elif harm == "no folder":
        gone = tmp_path / "gone"
        gone.mkdir()
        run = run._replace(folders=[*run.folders[:2], Folder(str(gone)), run.folders[3]])
        gone.rmdir()
    elif harm == "no room":
        # Of two stripes the second is written first, and this is in the middle of it.
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(BLOCK.file) - 100, before[1]))
    elif harm == "nobody waits for it":
        run.gate.close()
    try:
        carry_out(quick, run._replace(mount=dataclasses.replace(MOUNT, publish_strategy=strategy)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    count = 0 if harm in ("no room", "nobody waits for it") else 2
    assert list(run.times) == [1] * count + [0] * (4 - count)
    assert names(tmp_path) == {layout.block_name(key_of(number)) for number in range(count)} | stays
    if harm == "there already":
        assert third.read_bytes() == b"somebody's"


# ---- the same refusals, in the same words --------------------------------------------------------------------


@given(block=blocks(), at=st.integers(0))
def test_any_flipped_bit_is_refused_alike(block: Block, at: int) -> None:
    data = bytearray(block.file)
    at %= len(data) * 8
    data[at // 8] ^= 1 << at % 8
    assert "Corrupt" in same_verdict(block, bytes(data))[1]


@given(block=blocks(), at=st.integers(0), put=st.binary(min_size=1, max_size=64))
def test_any_header_under_a_right_checksum_is_judged_alike(block: Block, at: int, put: bytes) -> None:
    """Lengths that are not so, offsets beyond the end; and what the format leaves free may be anything."""
    data, end = bytearray(block.file), block.spec.header_bytes - 8
    at %= end
    data[at : min(at + len(put), end)] = put[: end - at]
    data[end : end + 8] = xxhash.xxh3_64_intdigest(bytes(data[:end])).to_bytes(8, "little")
    same_verdict(block, bytes(data))


@given(block=blocks(), length=st.integers(0), more=st.binary(max_size=10))
def test_any_other_length_is_not_read(block: Block, length: int, more: bytes) -> None:
    data = block.file
    assert same_verdict(block, data[: length % len(data)])[0] is False
    assert same_verdict(block, data + b"\0" + more)[0] is False


@given(block=blocks(), data=st.binary(max_size=100))
def test_garbage_of_the_right_length_is_refused_alike(block: Block, data: bytes) -> None:
    size = block.spec.file_bytes
    assert "Corrupt" in same_verdict(block, (data * size)[:size].ljust(size, b"\0"))[1]


@given(block=blocks(), ours=blocks())
def test_another_block_is_refused_alike(block: Block, ours: Block) -> None:
    ours = dataclasses.replace(ours, spec=dataclasses.replace(ours.spec, payload_bytes=block.spec.payload_bytes))
    same_verdict(ours, block.file)


# ---- the same errors ---------------------------------------------------------------------------------------


def test_what_cannot_be_opened_is_an_error_with_its_name(path: DataPath, tmp_path: Path, folder: int) -> None:
    move = a_move(path, BLOCK, bytearray(10_000))
    with pytest.raises(FileNotFoundError) as caught:
        path.read(move, folder, NAME, MOUNT)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, NAME)
    (tmp_path / NAME).symlink_to("/nowhere")
    with pytest.raises(OSError) as caught:
        path.read(move, folder, NAME, MOUNT)
    assert caught.value.errno == errno.ELOOP


def test_a_full_disk_is_an_error(path: DataPath) -> None:
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(OSError) as caught:
        path.write(a_move(path, BLOCK, bytearray(BLOCK.payload)), full.fileno())
    assert caught.value.errno == errno.ENOSPC


def test_what_others_own_is_not_read(path: DataPath, folder: int, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(BLOCK.file)
    row = bytearray(10_000)
    theirs = dataclasses.replace(MOUNT, owners=frozenset({4242, 4243}), group=4244)
    read: BlockRead = path.read(a_move(path, BLOCK, row), folder, NAME, theirs)
    assert (read.found.st_uid, read.found.st_gid) == (os.geteuid(), os.getegid())
    assert read.found.st_mtime == pytest.approx((tmp_path / NAME).stat().st_mtime)
    assert row == bytes(10_000)


def test_no_file_stays_open(path: DataPath, folder: int, tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    good, bad = BLOCK.file, bytearray(BLOCK.file)
    bad[-1] ^= 1
    for data in (good, bytes(bad), good[:-1]):
        (tmp_path / NAME).write_bytes(data)
        path.read(a_move(path, BLOCK, bytearray(10_000)), folder, NAME, MOUNT)
    assert len(os.listdir("/proc/self/fd")) == before


# ---- rows that were given away ---------------------------------------------------------------------------------


def test_a_closed_gate_keeps_everything_out(path: DataPath, folder: int, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(BLOCK.file)
    row = bytearray(10_000)
    move = a_move(path, BLOCK, row)
    assert move.row.gate.close()
    with pytest.raises(Cancelled):
        path.read(move, folder, NAME, MOUNT)
    with open(tmp_path / "new", "wb", buffering=0) as out, pytest.raises(Cancelled):
        path.write(move, out.fileno())
    assert row == bytes(10_000)
    assert (tmp_path / "new").read_bytes() == b""


def test_a_gate_counts_who_is_inside_and_what_was_copied(path: DataPath) -> None:
    gate = path.new_gate()
    assert gate.enter() and gate.enter()
    assert not gate.close()
    assert not gate.enter()
    gate.leave(5)
    assert not gate.close()
    gate.leave()
    assert gate.close()
    assert gate.copied == 5


def test_a_read_counts_what_it_copied(path: DataPath, folder: int, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(BLOCK.file)
    move = a_move(path, BLOCK, bytearray(10_000))
    path.read(move, folder, NAME, MOUNT)
    assert move.row.gate.copied == 10_000
    assert move.row.gate.close()


def test_once_a_gate_is_closed_and_empty_nothing_changes_in_its_row(
    path: DataPath, folder: int, tmp_path: Path
) -> None:
    """Threads that read again and again, and a row that is taken away from them at any moment."""
    (tmp_path / NAME).write_bytes(BLOCK.file)
    for _ in range(20):
        row, gate = bytearray(10_000), path.new_gate()
        address, began = address_of(row), threading.Barrier(4)

        def read(address: int = address, gate: object = gate, began: threading.Barrier = began) -> None:
            move = Move(BLOCK.spec, BLOCK.key, BlockBuffer(BLOCK.spec), Row(address, gate))
            began.wait()
            try:
                while True:
                    path.read(move, folder, NAME, MOUNT)
            except Cancelled:
                pass

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        began.wait()
        while gate.copied == 0:
            pass
        while not gate.close():
            pass
        row[:] = b"\xee" * 10_000
        for thread in threads:
            thread.join()
        assert row == b"\xee" * 10_000


def test_what_changes_while_it_is_written_is_refused_by_every_reader(
    path: DataPath, folder: int, tmp_path: Path
) -> None:
    """The rows of a store that was given up belong to another block while its write is still under way.

    Here the row is the very file's beginning: writing the header changes the stripe behind it after it was hashed.
    """
    block = Block(BlockSpec(bytes(32), 4096, 1, 4096), b"key", bytes(4096))
    with open(tmp_path / NAME, "w+b", buffering=0) as out:
        out.truncate(4096)
        with mmap.mmap(out.fileno(), 4096) as row:
            address = address_of(row)
            path.write(
                Move(block.spec, block.key, BlockBuffer(block.spec), Row(address, path.new_gate())), out.fileno()
            )
    read = path.read(a_move(path, block, bytearray(4096)), folder, NAME, MOUNT)
    assert isinstance(read.failure, Corrupt) and read.failure.rule is Rule.PAYLOAD_CHECKSUM


def test_the_gate_of_another_data_path_is_refused() -> None:
    for path in NATIVE.values():
        with pytest.raises(TypeError, match="another data path"):
            path.write(a_move(REFERENCE, BLOCK, bytearray(10_000)), 0)


# ---- which one is used --------------------------------------------------------------------------------------


def test_native_code_is_used_here() -> None:
    """Where this fails the development environment was made without it: `make venv`."""
    assert best_path().name == ("native" if MACHINE in ("x86_64", "aarch64") else "python")


def test_the_library_is_the_best_that_the_processor_can_run(tmp_path: Path) -> None:
    for name in ("x86_64.so", "x86_64_v3.so", "aarch64.so"):
        (tmp_path / name).touch()
    old, new = frozenset({"sse2", "avx"}), native._V3 | {"sse2"}
    assert library_file("x86_64", lambda: old, tmp_path).name == "x86_64.so"
    assert library_file("x86_64", lambda: new, tmp_path).name == "x86_64_v3.so"
    assert library_file("aarch64", frozenset, tmp_path).name == "aarch64.so"
    with pytest.raises(OSError, match="no native code for processors of the kind riscv64"):
        library_file("riscv64", frozenset, tmp_path)
    with pytest.raises(OSError, match="is not there"):
        library_file("aarch64", frozenset, tmp_path / "elsewhere")


def test_where_there_is_none_python_does_it_and_it_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert best_path.__wrapped__().name == "python"
    assert "moved by Python code" in caplog.text and "riscv64" in caplog.text
    assert caplog.records[0].levelno == logging.WARNING


@pytest.mark.parametrize("content", [b"", b"no library"], ids=["empty", "not a library"])
def test_a_broken_library_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.so").write_bytes(content)
    with pytest.raises(OSError):
        NativePath(tmp_path / "broken.so")


@pytest.mark.skipif(not LIBRARIES, reason="no native code for this processor")
def test_a_library_of_other_sources_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(native.SIZES, "llmd_item_bytes", 1)
    with pytest.raises(OSError, match="made from other sources"):
        NativePath(native._FOLDER / LIBRARIES[0])

# SPDX-License-Identifier: Apache-2.0
"""A user would lose: space to the litter of killed engines, or files of theirs to an eager collector."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmd_storage_connector.blocks import layout, temp_files
from llmd_storage_connector.blocks.temp_files import Collected, TempFileCollector, collect_folder
from llmd_storage_connector.engine import background
from llmd_storage_connector.engine.background import Background
from llmd_storage_connector.telemetry.metrics import Counters
from llmd_storage_core import publish
from llmd_storage_core.scratch import is_scratch, scratch_name
from tests.patience import CEILING_S

pytestmark = pytest.mark.timeout(60)

NOW = 2_000_000_000.0
OLD, YOUNG = NOW - 601.0, NOW - 599.0
WRITER = "0123456789ab"
LITTER = scratch_name(WRITER, 0x1F)


def write(path: Path, mtime: float, length: int = 10) -> Path:
    path.write_bytes(b"x" * length)
    os.utime(path, (mtime, mtime))
    return path


def test_the_names_that_a_killed_writer_leaves_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object, **__: object) -> None:
        raise OSError("stands for kill -9: nothing that follows happens")

    monkeypatch.setattr(os, "rename", killed)
    monkeypatch.setattr(os, "unlink", killed)
    with contextlib.suppress(OSError):
        publish.publish("rename", str(tmp_path), "name", publish.whole([b"half a block"]))
    (left,) = os.listdir(tmp_path)
    assert is_scratch(left)


def test_old_litter_goes_and_is_counted(tmp_path: Path) -> None:
    write(tmp_path / LITTER, OLD, 100)
    write(tmp_path / scratch_name(WRITER, 7), OLD, 23)
    assert collect_folder(str(tmp_path), 600, NOW) == Collected(2, 123)
    assert collect_folder(str(tmp_path), 600, NOW) == Collected(0, 0)
    assert os.listdir(tmp_path) == []


def test_a_block_that_is_being_written_stays(tmp_path: Path) -> None:
    write(tmp_path / LITTER, YOUNG)
    assert collect_folder(str(tmp_path), 600, NOW) == Collected(0, 0)
    assert os.listdir(tmp_path) == [LITTER]


FOREIGN = [
    layout.block_name(b"\x01" * 36),
    layout.MANIFEST,
    ".nfs00000000000000ab.tmp",
    f".{WRITER}-1f",
    f".{WRITER}-1f.tmp2",
    f".{WRITER}-1F.tmp",
    f".{WRITER}.tmp",
    f"{WRITER}-1f.tmp",
    f".{WRITER}0-1f.tmp",
    f".{WRITER}-1f.tmp\n",
    ".fuse_hidden0000.tmp",
]


@pytest.mark.parametrize("name", FOREIGN)
def test_files_of_others_stay_however_old(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, 0.0)
    assert collect_folder(str(tmp_path), 600, NOW) == Collected(0, 0)
    assert os.listdir(tmp_path) == [name]


def _link(path: Path) -> None:
    target = write(path.parent / "target", OLD)
    path.symlink_to(target)


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, _link], ids=["folder", "fifo", "link"])
def test_what_is_no_regular_file_stays_even_under_our_name(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / LITTER)
    os.utime(tmp_path / LITTER, (OLD, OLD), follow_symlinks=False)
    before = sorted(os.listdir(tmp_path))
    assert collect_folder(str(tmp_path), 600, NOW) == Collected(0, 0)
    assert sorted(os.listdir(tmp_path)) == before


def test_a_folder_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    write(elsewhere / LITTER, OLD)
    (tmp_path / "00").symlink_to(elsewhere)
    with pytest.raises(OSError, match="00"):
        collect_folder(str(tmp_path / "00"), 600, NOW)
    assert os.listdir(elsewhere) == [LITTER]


def test_a_file_that_cannot_be_removed_does_not_keep_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        write(tmp_path / scratch_name(WRITER, number), OLD)
    really = os.unlink

    def refused(name: str, **where: int) -> None:
        if name == scratch_name(WRITER, 1):
            raise PermissionError(1, "not yours")
        really(name, **where)

    monkeypatch.setattr(os, "unlink", refused)
    assert collect_folder(str(tmp_path), 600, NOW).files == 2


NAMES = st.sampled_from([*FOREIGN, LITTER]) | st.from_regex(
    r"\.?[0-9a-f]{10,13}-?[0-9a-f]{0,3}\.(tmp|kvb)", fullmatch=True
)


def is_ours(name: str) -> bool:
    """Said again, without a pattern: a dot, 12 hex digits, a dash, a number, .tmp."""
    writer, dash, number = name[1:].removesuffix(".tmp").partition("-")
    digits = set(writer + number) <= set("0123456789abcdef")
    return name[0] == "." and name.endswith(".tmp") and len(writer) == 12 and digits and bool(dash and number)


@given(st.dictionaries(NAMES, st.tuples(st.floats(min_value=0, max_value=2e9), st.booleans()), max_size=12))
def test_whatever_lies_there_only_old_regular_scratch_files_go(files: dict[str, tuple[float, bool]]) -> None:
    with tempfile.TemporaryDirectory() as where:
        folder = Path(where)
        for name, (age_s, regular) in files.items():
            if regular:
                write(folder / name, NOW - age_s)
            else:
                (folder / name).mkdir()
                os.utime(folder / name, (NOW - age_s, NOW - age_s))
        collect_folder(where, 600, NOW)
        gone = {name for name, (age_s, regular) in files.items() if regular and age_s > 601 and is_ours(name)}
        boundary = {name for name, (age_s, _) in files.items() if 599 <= age_s <= 601}
        left = set(os.listdir(folder))
        assert left | boundary == (set(files) - gone) | boundary


class Claim:
    """A namespace's folder with litter everywhere, and a collector on a thread of the engine's."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.counters = Counters()
        self.store = SimpleNamespace(folder=str(root))
        self.crew = self.scheduler = self.runner = None
        self.temp_files = TempFileCollector(lambda: NOW, spread=lambda most: most / 2)
        self.in_use = True
        for name in [*layout.fanout_names(), layout.DAMAGED]:
            (root / name).mkdir()
        self.background = Background(self)
        self.thread = threading.Thread(
            target=self.background._poll, args=(lambda: 0.0001, self.background._collect_temp_files), daemon=True
        )

    @property
    def collected_files(self) -> int:
        self.total = getattr(self, "total", 0) + self.counters.take().get(("removed_temp_files", ""), 0)
        return self.total

    def litter(self) -> list[Path]:
        return [path for path in self.root.rglob("*") if is_scratch(path.name)]

    def until(self, reached: Callable[[], bool]) -> None:
        for _ in range(20_000):
            if reached():
                return
            threading.Event().wait(0.001)
        pytest.fail("it never came to this")


@pytest.fixture
def claim(tmp_path: Path) -> Iterator[Claim]:
    made = Claim(tmp_path)
    yield made
    made.background._closing.set()
    if made.thread.ident:
        made.thread.join(CEILING_S)
        assert not made.thread.is_alive()


def test_every_folder_is_swept_and_swept_again(claim: Claim) -> None:
    places = [claim.root / name for name in ("00", "7f", "ff", layout.DAMAGED, "")]
    for place in places:
        write(place / LITTER, OLD)
    kept = write(claim.root / "7f" / layout.block_name(b"\x7f" * 36), 0.0)
    claim.thread.start()
    claim.until(lambda: not claim.litter())
    write(claim.root / "7f" / LITTER, OLD)
    claim.until(lambda: not claim.litter())
    claim.until(lambda: claim.collected_files == len(places) + 1)
    assert kept.exists()


def test_sick_storage_is_left_alone_until_it_is_well(claim: Claim, monkeypatch: pytest.MonkeyPatch) -> None:
    touched = threading.Event()
    really = temp_files.collect_folder

    def watched(folder: str, older_than_s: float, now: float) -> Collected:
        touched.set()
        return really(folder, older_than_s, now)

    monkeypatch.setattr(temp_files, "collect_folder", watched)
    claim.in_use = False
    write(claim.root / "00" / LITTER, OLD)
    claim.thread.start()
    assert not touched.wait(0.05)
    claim.in_use = True
    claim.until(lambda: not claim.litter())


def test_what_was_due_while_storage_was_sick_is_done_soon_after(claim: Claim, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a day later, which is the pause after a whole walk."""
    monkeypatch.setattr(background, "MAINTENANCE_EVERY_S", 0.001)
    pauses, done = iter([0.0001, temp_files.EVERY_S]), threading.Event()
    claim.in_use = False
    thread = threading.Thread(target=claim.background._poll, args=(lambda: next(pauses), done.set), daemon=True)
    thread.start()
    assert not done.wait(0.05)
    claim.in_use = True
    assert done.wait(CEILING_S)
    claim.background._closing.set()
    thread.join(CEILING_S)
    assert not thread.is_alive()


def test_folders_that_vanish_and_errors_of_any_kind_do_not_end_it(
    claim: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    (claim.root / "3c").rmdir()
    failures = iter([OSError(116, "stale"), RuntimeError("unforeseen")])
    really = temp_files.collect_folder

    def failing(folder: str, older_than_s: float, now: float) -> Collected:
        for failure in failures:
            raise failure
        return really(folder, older_than_s, now)

    monkeypatch.setattr(temp_files, "collect_folder", failing)
    write(claim.root / "00" / LITTER, OLD)
    claim.thread.start()
    claim.until(lambda: not claim.litter())
    assert claim.thread.is_alive()


def test_a_walk_takes_every_folder_once_and_then_rests_for_a_day(claim: Claim) -> None:
    pauses = []
    for _ in range(layout.FANOUT + 2):
        claim.temp_files.poll(str(claim.root))
        pauses.append(claim.temp_files.pause_s)
    rest = temp_files.EVERY_S + temp_files.SPREAD_S / 2
    assert pauses == [temp_files.PAUSE_S] * (layout.FANOUT + 1) + [rest]


def test_of_many_engines_one_walks(claim: Claim, monkeypatch: pytest.MonkeyPatch) -> None:
    """64 pods that each list ten million names a day would be 640 million."""
    listed = []
    monkeypatch.setattr(temp_files, "collect_folder", lambda *_: listed.append(1) or Collected())
    mine, other = claim.temp_files, TempFileCollector(lambda: NOW + 60, spread=lambda _: 0.0)
    mine.poll(str(claim.root))
    os.utime(claim.root / layout.COLLECTED, (NOW, NOW))
    other.poll(str(claim.root))
    assert (len(listed), other.pause_s) == (1, temp_files.EVERY_S - 60)


@pytest.mark.parametrize(
    "age_s", [temp_files.EVERY_S, -2 * temp_files.EVERY_S], ids=["yesterday's", "of a wrong clock"]
)
def test_a_walk_of_long_ago_is_done_again(claim: Claim, age_s: float) -> None:
    write(claim.root / layout.COLLECTED, NOW - age_s)
    write(claim.root / LITTER, OLD)
    assert claim.temp_files.poll(str(claim.root)).files == 1


def test_a_full_disk_is_collected_all_the_same(claim: Claim, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> bool:
        raise OSError(errno.ENOSPC, "no room for a marker")

    monkeypatch.setattr(publish, "publish", full)
    write(claim.root / LITTER, OLD)
    assert claim.temp_files.poll(str(claim.root)).files == 1


def test_it_ends_at_once_even_between_two_days(claim: Claim) -> None:
    thread = threading.Thread(
        target=claim.background._poll, args=(lambda: temp_files.EVERY_S, lambda: None), daemon=True
    )
    thread.start()
    claim.background._closing.set()
    thread.join(CEILING_S)
    assert not thread.is_alive()

# SPDX-License-Identifier: Apache-2.0
"""A user would lose: gigabytes of memory after each kill, or the memory of an engine that lives."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmd_storage_connector.vllm import shared_memory
from llmd_storage_connector.vllm.shared_memory import EngineFile, remove_orphans

pytestmark = pytest.mark.timeout(60)

ENGINE = "8f14e45f-ceea"


@pytest.fixture
def shm(tmp_path: Path) -> Path:
    folder = tmp_path / "shm"
    folder.mkdir()
    return folder


class Process:
    """A process of an engine, which holds its file as the connector does, and has made its region if asked to."""

    def __init__(self, shm: Path, engine_id: str, then: str) -> None:
        program = (
            "import sys\n"
            "from llmd_storage_connector.vllm.shared_memory import EngineFile\n"
            f"held = EngineFile({engine_id!r}, {str(shm)!r})\n"
            f"{then}\n"
            "print('held', flush=True)\n"
            "sys.stdin.read()\n"
        )
        self._process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout.readline() == b"held\n"

    def kill(self) -> None:
        with self._process:
            self._process.kill()


@pytest.fixture
def killed(shm: Path) -> Iterator[list[Process]]:
    """Processes that are killed at the test's end, if not before."""
    processes: list[Process] = []
    yield processes
    for process in processes:
        process.kill()


def region(shm: Path, engine_id: str = ENGINE, length: int = 8192) -> Path:
    path = shm / f"vllm_offload_{engine_id}.mmap"
    path.write_bytes(b"x" * length)
    return path


def test_what_a_killed_engine_left_is_freed_and_said(
    shm: Path, killed: list[Process], caplog: pytest.LogCaptureFixture
) -> None:
    """Known by the lock: its age says nothing, and of a process in another container nothing is seen."""
    killed += [Process(shm, ENGINE, ""), Process(shm, ENGINE, "")]
    path = region(shm)
    size = path.stat().st_blocks * 512
    assert size > 0
    assert remove_orphans(str(shm)) == 0 and path.exists()
    killed.pop().kill()
    assert remove_orphans(str(shm)) == 0 and path.exists(), "another process of it lives"
    killed.pop().kill()
    assert remove_orphans(str(shm)) == size
    assert not os.listdir(shm)
    (line,) = caplog.messages
    assert str(size) in line
    assert remove_orphans(str(shm)) == 0
    assert len(caplog.messages) == 1, "nothing freed, nothing said"


def test_the_mark_of_changed_weights_goes_with_a_killed_engine(shm: Path, killed: list[Process]) -> None:
    """Each kill after a reload of weights left a file for ever."""
    mine = EngineFile("own", str(shm))
    killed.append(Process(shm, ENGINE, "held.mark()"))
    assert len(os.listdir(shm)) == 2
    killed.pop().kill()
    assert remove_orphans(str(shm)) == 0
    assert os.listdir(shm) == ["llmd_storage_own.engine"]
    mine.release(remove=True)
    assert not os.listdir(shm)


def test_a_change_of_weights_is_seen_by_every_process_of_the_engine(shm: Path, killed: list[Process]) -> None:
    scheduler, other = EngineFile(ENGINE, str(shm)), EngineFile("other", str(shm))
    assert not scheduler.is_marked
    killed.append(Process(shm, ENGINE, "held.mark()"))
    assert scheduler.is_marked and not other.is_marked
    assert EngineFile(ENGINE, str(shm)).is_marked


def test_an_engine_of_the_same_id_starts_anew(shm: Path, killed: list[Process]) -> None:
    """The id may be the operator's: else a restarted engine would serve without its cache, and on old memory."""
    killed.append(Process(shm, ENGINE, "held.mark()"))
    path = region(shm)
    killed.pop().kill()
    assert not EngineFile(ENGINE, str(shm)).is_marked
    assert not path.exists()


def test_a_second_process_leaves_the_region_alone(shm: Path) -> None:
    first = EngineFile(ENGINE, str(shm))
    path = region(shm)
    second = EngineFile(ENGINE, str(shm))
    second.release(remove=False)
    assert path.exists() and len(os.listdir(shm)) == 2
    first.release(remove=True)
    first.release(remove=True)


def test_whoever_starts_while_his_file_is_collected_makes_another(shm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, collected = shared_memory.fcntl.flock, list[int]()

    def collect_first(file: object, operation: int) -> None:
        if not collected:
            collected.append(operation)
            (shm / f"llmd_storage_{ENGINE}.engine").unlink()
        real(file, operation)

    monkeypatch.setattr(shared_memory.fcntl, "flock", collect_first)
    held = EngineFile(ENGINE, str(shm))
    assert remove_orphans(str(shm)) == 0
    held.mark()
    assert EngineFile(ENGINE, str(shm)).is_marked


def test_files_of_others_stay(shm: Path) -> None:
    """A region without an engine's file is not this connector's."""
    kept = [region(shm, "of-vllm-itself"), shm / "psm_1234", shm / "sem.x", shm / "llmd_storage_x.engine.txt"]
    for path in kept[1:]:
        path.write_bytes(b"x")
    (shm / "llmd_storage_folder.engine").mkdir()
    (shm / "llmd_storage_link.engine").symlink_to(kept[1])
    assert remove_orphans(str(shm)) == 0
    assert len(os.listdir(shm)) == len(kept) + 2
    assert all(path.stat().st_size for path in kept)


def test_an_engine_goes_on_where_there_is_no_such_folder(shm: Path) -> None:
    assert remove_orphans(str(shm / "gone")) == 0

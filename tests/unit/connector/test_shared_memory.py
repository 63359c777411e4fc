# SPDX-License-Identifier: Apache-2.0
"""A user would lose: gigabytes of memory after each kill, or the memory of an engine that lives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from llmd_storage_connector.vllm.shared_memory import remove_stale_regions

pytestmark = pytest.mark.timeout(60)

HOUR_S = 3600.0
REGION = "vllm_offload_8f14e45f-ceea.mmap"
OWN = "/dev/shm/vllm_offload_own.mmap"


@pytest.fixture
def shm(tmp_path: Path) -> Path:
    folder = tmp_path / "shm"
    folder.mkdir()
    return folder


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc with one process that has nothing to do with it."""
    folder = tmp_path / "proc"
    (folder / "self").mkdir(parents=True)
    add_process(folder, 1, maps="7f00-7f01 r-xp 00000000 08:01 42 /usr/bin/sleep\n", files=["/dev/null"])
    return folder


def add_process(proc: Path, pid: int, maps: str = "", files: list[str] | None = None) -> None:
    (proc / str(pid) / "fd").mkdir(parents=True)
    (proc / str(pid) / "maps").write_text(maps)
    for number, target in enumerate(files or []):
        (proc / str(pid) / "fd" / str(number)).symlink_to(target)


def region(shm: Path, name: str = REGION, length: int = 8192) -> Path:
    path = shm / name
    path.write_bytes(b"x" * length)
    return path


def remove(shm: Path, proc: Path, own: str = OWN, min_age_s: float = -HOUR_S) -> int:
    """A negative age: what was made this moment is old enough. (The change time cannot be set back.)"""
    return remove_stale_regions(own, str(shm), str(proc), min_age_s)


def test_memory_that_nobody_uses_is_freed_and_said(shm: Path, proc: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = region(shm)
    held = path.stat().st_blocks * 512
    assert held > 0
    assert remove(shm, proc) == held
    assert not path.exists()
    (line,) = caplog.messages
    assert str(held) in line
    assert remove(shm, proc) == 0
    assert len(caplog.messages) == 1, "nothing freed, nothing said"


def test_a_region_that_a_process_maps_stays(shm: Path, proc: Path) -> None:
    path = region(shm)
    # Mounted elsewhere in that process: only the name is the same.
    add_process(proc, 7, maps=f"7f00-7f01 rw-s 00000000 00:19 99                  /mnt/shm/{REGION}\n")
    assert remove(shm, proc) == 0
    assert path.exists()


def test_a_region_that_a_process_holds_open_stays(shm: Path, proc: Path) -> None:
    path = region(shm)
    add_process(proc, 7, files=["/dev/null", f"/dev/shm/{REGION}"])
    assert remove(shm, proc) == 0
    assert path.exists()


def test_one_that_lives_does_not_keep_another_that_is_dead(shm: Path, proc: Path) -> None:
    alive, dead = region(shm), region(shm, "vllm_offload_dead.mmap")
    add_process(proc, 7, files=[f"/dev/shm/{REGION}"])
    assert remove(shm, proc) > 0
    assert alive.exists()
    assert not dead.exists()


def test_own_and_young_regions_and_files_of_others_stay(shm: Path, proc: Path) -> None:
    kept = [region(shm, name) for name in ("vllm_offload_own.mmap", "psm_1234", "vllm_offload_x.mmap.txt", "sem.x")]
    (shm / "vllm_offload_folder.mmap").mkdir()
    (shm / "vllm_offload_link.mmap").symlink_to(kept[1])
    assert remove(shm, proc) == 0
    young = region(shm)
    assert remove(shm, proc, min_age_s=60.0) == 0
    assert all(path.exists() for path in [*kept, young])
    assert len(os.listdir(shm)) == len(kept) + 3


def test_a_region_of_another_user_stays(shm: Path, proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = region(shm)
    own = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: own + 1)
    assert remove(shm, proc) == 0
    assert path.exists()


def test_a_process_that_may_not_be_looked_into_does_not_keep_the_memory(
    shm: Path, proc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive, dead = region(shm), region(shm, "vllm_offload_dead.mmap")
    add_process(proc, 7, files=[f"/dev/shm/{REGION}"])
    really = os.listdir

    def listdir(folder: str) -> list[str]:
        if folder.endswith("/1/fd"):
            raise PermissionError(13, "not yours")
        return really(folder)

    monkeypatch.setattr(os, "listdir", listdir)
    assert remove(shm, proc) > 0
    assert alive.exists()
    assert not dead.exists()


@pytest.mark.parametrize("missing", ["shm", "proc"])
def test_an_engine_starts_where_there_is_no_such_folder(shm: Path, proc: Path, missing: str) -> None:
    path = region(shm)
    gone = shm.parent / "gone"
    assert remove(gone if missing == "shm" else shm, gone if missing == "proc" else proc) == 0
    assert path.exists()


def test_the_memory_of_a_real_process_is_freed_only_after_it_was_killed(shm: Path) -> None:
    path = region(shm)
    program = (
        "import mmap, os, sys\n"
        "fd = os.open(sys.argv[1], os.O_RDWR)\n"
        "kept = mmap.mmap(fd, 0)\n"
        "os.close(fd)\n"
        "print('mapped', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"mapped\n"
        assert remove_stale_regions(OWN, str(shm), min_age_s=-HOUR_S) == 0
        assert path.exists()
        process.kill()
    assert remove_stale_regions(OWN, str(shm), min_age_s=-HOUR_S) > 0
    assert not path.exists()

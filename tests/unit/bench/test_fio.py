"""A user would lose: a limit that is not what fio did."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.bench import fio

MIB = 1 << 20


def output(*jobs: dict[str, Any], before: str = "") -> str:
    return before + json.dumps({"fio version": "fio-3.33", "jobs": list(jobs)})


def job(read: int = 0, write: int = 0, moved: int = 0, error: int = 0) -> dict[str, Any]:
    sides = {"read": (read, moved if read else 0), "write": (write, moved if write else 0)}
    return {"error": error} | {way: {"bw_bytes": rate, "io_bytes": size} for way, (rate, size) in sides.items()}


def test_rate_and_bytes_are_read_behind_fios_warnings() -> None:
    assert fio.parse(output(job(read=300 * MIB, moved=7), before="fio: a note\n")) == (300.0, 7)
    assert fio.parse(output(job(write=5 * MIB, moved=9))) == (5.0, 9)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("fio: failed parsing bs=0\n", "no JSON"),
        (output(job(read=1, moved=1, error=5)), "error 5"),
        (output(job()), "moved nothing"),
    ],
    ids=["no output", "an error", "nothing moved"],
)
def test_a_run_that_failed_is_no_figure(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        fio.parse(text)


def test_a_run_that_moved_too_little_is_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.CompletedProcess([], 0, stdout=output(job(read=MIB, moved=80)), stderr="")
    monkeypatch.setattr(fio.subprocess, "run", lambda *_, **__: done)
    assert fio.run(["fio"], 80) == 1.0
    with pytest.raises(fio.FioFailed, match="80 of 100"):
        fio.run(["fio"], 100)


@pytest.mark.parametrize("mib", [2, 32])
def test_every_way_to_read_reads_every_block_once(tmp_path: Path, mib: int) -> None:
    blocks = 32
    files = fio.Files.__new__(fio.Files)  # without their half gigabyte
    files.folder, files.block_bytes, files.blocks = tmp_path, mib * MIB, blocks
    for index in range(blocks):
        (tmp_path / f"block.{index}").touch()
    for setup in fio.read_setups(mib * MIB, blocks):
        given = dict(word[2:].split("=", 1) for word in fio.read_argv(setup, files, tmp_path) if "=" in word)
        assert int(given["size"]) * setup.jobs == blocks * mib * MIB, setup.name
        if not setup.one_file:
            parts = list(tmp_path.glob(f"part{setup.jobs}.*"))
            assert len(parts) == blocks
            assert len({part.stat().st_ino for part in parts}) == blocks


def test_no_way_to_read_has_more_jobs_than_blocks() -> None:
    assert all(setup.jobs <= 16 for setup in fio.read_setups(32 * MIB, 16))


def test_writing_makes_a_file_a_block_with_as_many_threads(tmp_path: Path) -> None:
    argv = fio.write_argv(tmp_path, 65536, 4096, 16, direct=False)
    given = dict(word[2:].split("=", 1) for word in argv if "=" in word)
    assert (given["numjobs"], given["nrfiles"], given["filesize"], given["direct"]) == ("16", "256", "65536", "0")
    assert int(given["size"]) * 16 == 4096 * 65536
    # In one folder the threads would wait for each other.
    assert len(set(given["directory"].split(":"))) == 16

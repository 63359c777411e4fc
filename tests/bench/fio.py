"""fio, the limit: what the mount gives to a program that only reads or writes.

Read configurations use either a file a block, or one large file (no opens at all); which of them is best is found in
a survey on the spot, and the two best are then measured beside the others.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20
ONE = "one"
_PIECE_BYTES = 4 * MIB


class FioFailed(Exception):
    """fio did not run, or gave no figure."""


@dataclass(frozen=True)
class Setup:
    """One way to run it. request_bytes 0: as large as a block. one_file: blocks of one large file."""

    engine: str
    depth: int
    jobs: int
    direct: bool
    one_file: bool = False
    request_bytes: int = 0

    @property
    def name(self) -> str:
        kind = "one file" if self.one_file else "file a block"
        size = f", {self.request_bytes // MIB} MiB requests" if self.request_bytes else ""
        return (
            f"{self.engine} depth {self.depth} x {self.jobs}, {'direct' if self.direct else 'buffered'}, {kind}{size}"
        )


def read_setups(block_bytes: int, blocks: int) -> list[Setup]:
    """What is sensible for reading these blocks cold."""
    wide = [jobs for jobs in (8, 16, 32) if jobs <= blocks]
    setups = [Setup("psync", 1, jobs, True) for jobs in wide]
    setups += [Setup("psync", 1, jobs, False) for jobs in wide[-2:-1] or wide]
    setups += [Setup("io_uring", 8, 2, True), Setup("psync", 1, 16, True, one_file=True)]
    setups += [Setup("io_uring", 32, 1, True, one_file=True), Setup("libaio", 32, 1, True, one_file=True)]
    if block_bytes > 4 * MIB:
        setups += [Setup("psync", 1, 16, True, one_file=True, request_bytes=2 * MIB)]
        setups += [Setup("io_uring", 32, 1, True, one_file=True, request_bytes=2 * MIB)]
    return setups


class Files:
    """The files that fio reads: `blocks` files of a block's size, and one of all. Removed by the caller."""

    def __init__(self, folder: Path, block_bytes: int, blocks: int) -> None:
        self.folder, self.block_bytes, self.blocks = folder, block_bytes, blocks
        folder.mkdir(parents=True, exist_ok=True)
        sizes = {ONE: block_bytes * blocks} | {f"block.{index}": block_bytes for index in range(blocks)}
        for name, size in sizes.items():
            with (folder / name).open("wb") as file:
                # No two pieces are equal: disks behind a hypervisor may know equal ones.
                for at in range(0, size, _PIECE_BYTES):
                    file.write(os.urandom(min(_PIECE_BYTES, size - at)))

    def paths(self) -> list[Path]:
        return [self.folder / ONE, *(self.folder / f"block.{index}" for index in range(self.blocks))]

    def split(self, jobs: int) -> str:
        """Names that give each job its own part of the blocks. Returns: fio's filename_format."""
        each = self.blocks // jobs
        for job in range(jobs):
            for index in range(each):
                name = self.folder / f"part{jobs}.{job}.{index}"
                if not name.exists():
                    os.link(self.folder / f"block.{job * each + index}", name)
        return f"part{jobs}.$jobnum.$filenum"


def read_argv(setup: Setup, files: Files, seen_at: Path) -> list[str]:
    """seen_at: the files' folder through the mount that is measured."""
    total, jobs = files.block_bytes * files.blocks, setup.jobs
    argv = [*_common(setup, "read", setup.request_bytes or files.block_bytes), f"--directory={seen_at}"]
    if setup.one_file:
        part = total // jobs
        return [*argv, f"--filename={ONE}", f"--size={part}", f"--offset_increment={part}"]
    each = files.blocks // jobs
    return [
        *argv,
        f"--filename_format={files.split(jobs)}",
        f"--nrfiles={each}",
        f"--filesize={files.block_bytes}",
        f"--size={each * files.block_bytes}",
        *_in_turn(each),
    ]


def write_argv(folder: Path, block_bytes: int, blocks: int, jobs: int, *, direct: bool) -> list[str]:
    """A new file a block, no fsync, `jobs` threads, each in a folder of its own (folder/0, /1, ...), which is there."""
    jobs = min(jobs, blocks)
    each = blocks // jobs
    return [
        *_common(Setup("psync", 1, jobs, direct), "write", block_bytes),
        f"--directory={':'.join(str(folder / str(job)) for job in range(jobs))}",
        f"--nrfiles={each}",
        f"--filesize={block_bytes}",
        f"--size={each * block_bytes}",
        "--fallocate=none",
        "--create_on_open=1",
        *_in_turn(each),
    ]


def run(argv: list[str], expected_bytes: int = 0) -> float:
    """MiB/s. Raises: FioFailed. expected_bytes: less than nine tenths of it moved is a failure, too."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    try:
        rate, moved = parse(done.stdout)
    except ValueError as error:
        raise FioFailed(f"{' '.join(argv)}: {error}; {done.stderr.strip()[-300:]}") from error
    if done.returncode or moved < 0.9 * expected_bytes:
        raise FioFailed(f"{' '.join(argv)}: moved {moved} of {expected_bytes} bytes; {done.stderr.strip()[-300:]}")
    return rate


def parse(output: str) -> tuple[float, int]:
    """MiB/s and bytes moved, of fio's JSON output. Raises: ValueError when there is none."""
    # fio prints its warnings before the JSON, on the same stream.
    start = output.find("{")
    if start < 0:
        raise ValueError("fio printed no JSON")
    jobs = json.loads(output[start:])["jobs"]
    if any(job.get("error") for job in jobs):
        raise ValueError(f"fio reports error {next(job['error'] for job in jobs if job.get('error'))}")
    moved = sum(job[way]["io_bytes"] for job in jobs for way in ("read", "write"))
    rate = sum(job[way]["bw_bytes"] for job in jobs for way in ("read", "write"))
    if moved == 0:
        raise ValueError("fio moved nothing")
    return rate / MIB, moved


def _common(setup: Setup, kind: str, request_bytes: int) -> list[str]:
    return [
        "fio",
        "--name=bench",
        "--output-format=json",
        "--group_reporting",
        "--thread",
        f"--rw={kind}",
        f"--bs={request_bytes}",
        f"--ioengine={setup.engine}",
        f"--iodepth={setup.depth}",
        f"--numjobs={setup.jobs}",
        f"--direct={int(setup.direct)}",
    ]


def _in_turn(files: int) -> list[str]:
    return ["--file_service_type=sequential", f"--openfiles={min(files, 32)}"]

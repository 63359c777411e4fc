"""What a run that was killed leaves to the next one."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import with_lab
from tests.lab import deps, up
from tests.lab.paths import Lab
from tests.lab.proc import Console, end_orphans, start_time
from tests.patience import eventually


@pytest.fixture
def here(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def test_a_program_is_known_while_it_runs_and_forgotten_afterwards(tmp_path: Path) -> None:
    running, seen = tmp_path / "running", tmp_path / "seen"
    look = f"until ls {running}/* > {seen} 2> /dev/null; do sleep 0.01; done; echo $$ >> {seen}"
    Console(tmp_path / "log", running=running).run(["sh", "-c", look])
    known, itself = seen.read_text().split()
    assert Path(known).name == itself
    assert list(running.iterdir()) == []


def test_the_orphans_of_a_killed_run_are_ended_with_their_children_and_nobody_else(tmp_path: Path) -> None:
    running = tmp_path / "running"
    code = (
        "import sys; from pathlib import Path; from tests.lab.proc import Console; here = Path(sys.argv[1])\n"
        "Console(here / 'log', running=here / 'running').run(['sh', '-c', 'sleep 1000 & sleep 1000'])"
    )
    killed = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    eventually(
        lambda: running.is_dir() and [n for n in running.iterdir() if n.read_text()], "a program to run", every_s=0.02
    )
    killed.kill()
    killed.wait()
    (orphan,) = running.iterdir()
    assert start_time(int(orphan.name)) is not None, "it outlives the lab's command"
    # A number that the kernel has given to another program since, and one that nobody has.
    (running / str(os.getpid())).write_text("12345")
    (running / "4194304").write_text("1")
    assert end_orphans(running) == [int(orphan.name)]
    assert list(running.iterdir()) == []
    group = subprocess.run(["pgrep", "-g", orphan.name], capture_output=True, text=True, check=False).stdout
    assert [pid for pid in group.split() if start_time(int(pid)) is not None] == []
    assert end_orphans(running) == []


def test_half_made_folders_are_removed_with_the_next_command(here: Lab) -> None:
    for folder in (here.home / "tmpabc", here.img / "tmpdef", here.home / "bin"):
        folder.mkdir(parents=True)
        (folder / "file").touch()
    up.clear(here)
    assert not (here.home / "tmpabc").exists() and not (here.img / "tmpdef").exists()
    assert (here.home / "bin" / "file").exists()


def test_a_package_manager_at_work_is_seen(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    assert not deps.locked(lock)
    lock.touch()
    assert not deps.locked(lock)
    code = "import fcntl, sys; f = open(sys.argv[1], 'r+'); fcntl.lockf(f, fcntl.LOCK_EX); print('held', flush=True)"
    argv = [sys.executable, "-c", f"{code}; sys.stdin.read()", str(lock)]
    other = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None and other.stdout.readline() == "held\n"
    assert deps.locked(lock)
    other.communicate("")
    assert not deps.locked(lock)
    with lock.open("r+") as own:
        fcntl.lockf(own, fcntl.LOCK_EX)


class Commands:
    """The lab's commands, as far as they say whether it is up."""

    def __init__(self, here: Lab, *, is_up: bool) -> None:
        self.here, self.is_up, self.said = here, is_up, list[str]()

    def __call__(self, *words: str) -> bool:
        self.said.append(words[0])
        if words[0] == "down":
            self.is_up = False
            (self.here.run / with_lab.TESTED).unlink(missing_ok=True)
        if words[0] == "up":
            self.is_up = True
            self.here.run.mkdir(parents=True, exist_ok=True)
        return self.is_up or words[0] == "down"


@pytest.mark.parametrize(
    ("is_up", "killed", "said"),
    [
        (False, False, ["status", "up", "down"]),
        (True, False, ["status", "up"]),
        (True, True, ["down", "status", "up", "down"]),
    ],
)
def test_a_lab_that_a_killed_run_was_at_work_on_is_made_anew(
    here: Lab, monkeypatch: pytest.MonkeyPatch, is_up: bool, killed: bool, said: list[str]
) -> None:
    monkeypatch.setenv("LLMD_LAB_HOME", str(here.home))
    here.run.mkdir()
    mark = here.run / with_lab.TESTED
    if killed:
        mark.touch()
    command = Commands(here, is_up=is_up)
    with with_lab.lab_up(command) as well:
        assert well and mark.exists()
    assert command.said == said
    assert not mark.exists()

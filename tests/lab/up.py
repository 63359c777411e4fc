"""Brings the lab up, or leaves a healthy one alone; one lab command at a time."""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console as Terminal

from tests.lab import addons, health, plan, teardown
from tests.lab.errors import LabError
from tests.lab.paths import Lab
from tests.lab.proc import end_orphans
from tests.lab.progress import run_steps
from tests.lab.steps import RUNNING, Record, Step

LOCK_WAIT_S = 3600.0  # another `up` may be building


def requirements() -> None:
    """Raises: LabError that says what this machine lacks and no package can bring."""
    if os.geteuid() != 0:
        raise LabError("the lab makes namespaces and mounts: run it as root")
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise LabError(f"the lab runs on Linux on x86_64, this is {platform.system()} on {platform.machine()}")
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        raise LabError("/dev/fuse is missing: CephFS is mounted through it (modprobe fuse)")


@contextmanager
def exclusive(lab: Lab, terminal: Terminal) -> Iterator[None]:
    """Holds the lab's lock; waits while another command holds it."""
    lab.home.mkdir(parents=True, exist_ok=True)
    with (lab.home / "lock").open("a+") as f:
        end = time.monotonic() + LOCK_WAIT_S
        told = False
        while True:
            try:
                fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise LabError(f"another lab command has held {lab.home}/lock for an hour") from None
                if not told:
                    f.seek(0)
                    terminal.print(f"waiting for another lab command (pid {f.read().strip() or 'unknown'})")
                    told = True
                time.sleep(0.5)
        f.truncate(0)
        f.write(str(os.getpid()))
        f.flush()
        clear(lab)
        yield


def clear(lab: Lab) -> None:
    """Ends and removes what lab commands have left that were killed. Requires: the lab's lock."""
    end_orphans(lab.log / RUNNING)
    for folder in (*lab.home.glob("tmp*"), *lab.img.glob("tmp*")):  # tempfile's names
        shutil.rmtree(folder, ignore_errors=True)


def run(lab: Lab, steps: list[Step], terminal: Terminal) -> list[Record]:
    return run_steps(steps, lab.log, terminal, lab.steps_file)


def build(lab: Lab, terminal: Terminal, group: str = "all") -> list[Record]:
    requirements()
    with exclusive(lab, terminal):
        return run(lab, plan.build_groups(lab)[group], terminal)


def up(lab: Lab, terminal: Terminal) -> list[Record]:
    """A healthy lab gets only what changed (a newer project image), and loses add-ons that a test run left. Anything
    else is taken down and made anew."""
    requirements()
    with exclusive(lab, terminal):
        found = health.check(lab)
        if found.well:
            addons.end_all(lab)
            return run(lab, refresh_steps(lab), terminal)
        if found.running or teardown.leftovers(lab):
            terminal.print("cleaning up first: " + "; ".join(found.complaints), markup=False)
            teardown.down(lab)
        steps = [*plan.build_steps(lab), *plan.run_steps(lab)]
        lab.run.mkdir(parents=True)
        return run(lab, steps, terminal)


def refresh_steps(lab: Lab) -> list[Step]:
    return [plan.project_image_step(lab, needs=()), plan.load_step(lab, ("project-image",))]


def refresh_image(lab: Lab, terminal: Terminal) -> list[Record]:
    """Rebuilds the project image when its inputs changed, and loads it into the running nodes."""
    with exclusive(lab, terminal):
        found = health.check(lab)
        if not found.running:
            raise LabError("the lab is not up: run `python -m tests.lab up`")
        return run(lab, refresh_steps(lab), terminal)


def down(lab: Lab, terminal: Terminal) -> None:
    with exclusive(lab, terminal):
        teardown.down(lab)

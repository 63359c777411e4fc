"""`make test` killed with -9, its whole process group, at any moment: the next one in a fresh clone is green.

A run that was killed leaves half-made builds, daemons, mounts, namespaces, locks and a release in the cluster. Kills
come in rounds: each of a round's runs starts on what the one before has left, and the round ends with a run that nobody
disturbs. That one has to be green; and no run may have failed before it was killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = int(os.environ.get("LLMD_TEST_KILL_ROUNDS", "5"))
KILLS_A_ROUND = int(os.environ.get("LLMD_TEST_KILLS_A_ROUND", "4"))
# What a run writes when it begins with a layer; a kill comes so many seconds after one of them.
MOMENTS = {"start": 20, "unit": 60, "process": 40, "chart": 40, "engine": 240, "cluster": 400}

pytestmark = pytest.mark.timeout(24 * 3600)


def clone(folder: Path) -> Path:
    """Of what is committed."""
    subprocess.run(["git", "clone", "-q", str(ROOT), str(folder)], check=True)
    return folder


def start(where: Path, log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as out:
        return subprocess.Popen(["make", "test"], cwd=where, stdout=out, stderr=out, start_new_session=True)


def commands(log: Path) -> list[str]:
    return [line for line in log.read_text(errors="replace").splitlines() if line.startswith("$ ")]


def is_of(command: str, moment: str) -> bool:
    """Whether a layer begins with it; the linters' commands name the tests' folders, too."""
    words = command.split()
    return "build gate" in command if moment == "start" else "pytest" in words and f"tests/{moment}" in words


def killed(where: Path, log: Path, moment: str, after_s: float) -> str:
    """A run that is killed so long after it came to a layer, or at its end. Returns: what it was at."""
    run = start(where, log)
    while run.poll() is None and not any(is_of(line, moment) for line in commands(log)):
        time.sleep(0.2)
    end = time.monotonic() + after_s
    while run.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    return (commands(log) or ["make"])[-1]


def failed(where: Path) -> list[str]:
    """Tests that failed in layers that came to their end."""
    found = []
    for report in (where / "build" / "test").glob("*.xml"):
        with contextlib.suppress(ET.ParseError):
            cases = ET.parse(report).getroot().iter("testcase")
            found += [str(c.get("name")) for c in cases if c.find("failure") is not None or c.find("error") is not None]
    return found


def test_a_killed_run_leaves_no_trap(tmp_path: Path, figures: Callable[..., None]) -> None:
    rng, at, times = random.Random(), list[str](), list[float]()
    moments: list[str] = []
    for number in range(ROUNDS):
        for kill in range(KILLS_A_ROUND):
            moments = moments or rng.sample(sorted(MOMENTS), len(MOMENTS))  # each once, then each once more
            moment = moments.pop()
            where, log = clone(tmp_path / f"killed-{kill}"), tmp_path / f"killed-{number}-{kill}.log"
            at.append(killed(where, log, moment, rng.uniform(0, MOMENTS[moment])))
            print(f"killed at: {at[-1][:100]}", flush=True)
            assert failed(where) == [], log
        where, log = clone(tmp_path / "whole"), tmp_path / f"whole-{number}.log"
        code = start(where, log).wait()
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-40:])
        assert code == 0, f"after {at[-KILLS_A_ROUND:]}\n{tail}"
        summary = json.loads((where / "build" / "test" / "summary.json").read_text())
        times.append(summary["seconds"])
        print(f"whole: {summary['passed']} passed in {summary['seconds']} s", flush=True)
        # Only now: below the clones that were killed there may have been mounts that hang.
        for folder in tmp_path.iterdir():
            if folder.is_dir():
                shutil.rmtree(folder)
    figures(kills=len(at), green_runs_after=len(times), seconds_of_each=times)

"""A person would lose: time limits, and the certainty that a signal hits the lab's process and no other."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from tests.lab.errors import Cancelled, LabError
from tests.lab.paths import Lab
from tests.lab.proc import Component, Console, component, components, output, start, start_time, stop


def test_a_program_that_runs_too_long_is_ended_with_its_children(tmp_path: Path) -> None:
    c = Console(tmp_path / "log")
    with pytest.raises(LabError, match=r"did not end within 3 s"):
        c.run(["sh", "-c", f"sleep 60 & echo $! >{tmp_path}/pid; wait"], timeout_s=3)
    child = int((tmp_path / "pid").read_text())
    end = time.monotonic() + 5
    while start_time(child) is not None and time.monotonic() < end:
        time.sleep(0.05)
    assert start_time(child) is None


def test_a_cancelled_step_ends_its_program(tmp_path: Path) -> None:
    c = Console(tmp_path / "log", threading.Event())
    c.cancel.set()
    with pytest.raises(Cancelled):
        c.run(["sleep", "60"])


def test_waiting_is_bounded_and_names_what_it_waited_for(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="in vain for the moon"):
        Console(tmp_path / "log").until("the moon", lambda: False, timeout_s=0.1, every_s=0.01)


def test_input_and_output_of_a_program(tmp_path: Path) -> None:
    c = Console(tmp_path / "log")
    c.run(["cat"], stdin="hello")
    assert "hello" in c.path.read_text()


def test_output_says_why_a_program_failed() -> None:
    with pytest.raises(LabError, match="exit code 4: sorry"):
        output(["sh", "-c", "echo sorry >&2; exit 4"])
    with pytest.raises(LabError, match="no-such-program is not installed"):
        output(["no-such-program"])


def test_a_component_is_found_again_and_its_end_is_seen(lab_here: Lab) -> None:
    lab_here.run.mkdir(parents=True)
    c = start(lab_here, "n1/sleeper", ["sleep", "60"])
    try:
        assert component(lab_here, "n1/sleeper") == c
        assert is_running(c)
    finally:
        os.kill(c.pid, 9)
    end = time.monotonic() + 5
    while is_running(c) and time.monotonic() < end:
        time.sleep(0.02)
    assert not is_running(c)
    assert [x.name for x in components(lab_here)] == ["n1/sleeper"]


def is_running(c: Component) -> bool:
    return c.alive and not c.stopped


def test_a_pid_that_another_program_got_is_not_taken_for_the_component() -> None:
    assert not Component("etcd", os.getpid(), "1").alive


def test_an_unknown_component_names_the_known_ones(lab_here: Lab) -> None:
    with pytest.raises(LabError, match="the lab is not up"):
        component(lab_here, "etcd")


def test_a_program_that_is_stopped_is_forgotten_also_when_it_does_not_listen(lab_here: Lab) -> None:
    """A leftover of an add-on would be taken for a lab that is not well."""
    lab_here.run.mkdir(parents=True)
    for name, script in (("addon/polite", "sleep 60"), ("addon/deaf", "trap '' TERM; while :; do sleep 0.1; done")):
        one = start(lab_here, name, ["sh", "-c", script], env={"X": "1"})
        assert one.addon and components(lab_here) == [one]
        time.sleep(0.3)
        stop(lab_here, one, timeout_s=0.5)
        assert not one.alive and components(lab_here) == []

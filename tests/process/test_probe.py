# SPDX-License-Identifier: Apache-2.0
"""The probe for real: two processes on one directory, and what happens when one of them has trouble."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llmd_storage_core import strategies
from llmd_storage_hooks.probe.collect import mounts
from tests.patience import CEILING_S, eventually
from tests.unit.hooks.support import assert_valid


def start(home, index, run="r1", node=None, **config):
    settings = {
        "release": "demo",
        "namespace": "ns",
        "path": str(home),
        # Ceilings; a test of what a deadline ends sets its own.
        "deadlineSeconds": 60,
        "timeoutSeconds": 240,
        **config,
    }
    env = {
        **os.environ,
        "JOB_COMPLETION_INDEX": str(index),
        "PROBE_RUN_ID": run,
        "NODE_NAME": node or f"node-{index}",
        "TERMINATION_LOG": str(home / f"termination-{index}"),
    }
    command = [
        sys.executable,
        "-m",
        "llmd_storage_hooks",
        "probe",
        "--output",
        "json",
        "--config",
        json.dumps(settings),
    ]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process):
    out, _ = process.communicate(timeout=CEILING_S)
    last = out.strip().splitlines()[-1] if out.strip() else ""
    report = json.loads(last) if last.startswith("{") else None
    if report:
        assert_valid(report)
    assert "Traceback" not in out
    return process.returncode, report, out


def verdicts(report):
    return {one["id"]: one["verdict"] for one in report["findings"]}


def left(path: Path) -> list[str]:
    return sorted(one.name for one in path.iterdir() if not one.name.startswith("termination"))


def test_two_pods_on_two_nodes(tmp_path):
    (tmp_path / "termination-0").touch()
    pods = [start(tmp_path, index, deadlineSeconds=60) for index in (0, 1)]
    (code, report, _), (other, silent, out) = [finish(one) for one in pods]
    assert (code, other, silent) == (0, 0, None)
    assert set(verdicts(report).values()) == {"pass"}
    assert "handed over" in out
    here = mounts.filesystem_of(str(tmp_path))
    assert report["numbers"]["filesystem"] == here
    assert report["numbers"]["strategy"] in strategies.candidates("auto", here)
    assert set(report["numbers"]["firstLookupSeconds"]) == set(strategies.STRATEGIES)
    assert left(tmp_path) == []
    assert "PASS" in (tmp_path / "termination-0").read_text()


def test_both_pods_on_one_node_is_inconclusive(tmp_path):
    pods = [start(tmp_path, index, node="same", publish="link") for index in (0, 1)]
    (code, report, _), (other, _, _) = [finish(one) for one in pods]
    assert (code, other) == (3, 0)
    assert verdicts(report)["probe.nodes"] == "inconclusive"
    assert report["numbers"]["strategy"] == "link"


def test_two_probes_at_once_do_not_disturb_each_other(tmp_path):
    pods = [start(tmp_path, index, run=run) for run in ("r1", "r2") for index in (0, 1)]
    assert [finish(one)[0] for one in pods] == [0, 0, 0, 0]
    assert left(tmp_path) == []


def test_a_missing_partner_ends_by_the_deadline_and_is_said(tmp_path):
    code, report, _ = finish(start(tmp_path, 0, deadlineSeconds=1, timeoutSeconds=2))
    assert code == 3
    assert verdicts(report)["probe.partner"] == "inconclusive"
    assert left(tmp_path) == []


def test_a_directory_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()  # root may write anywhere, but nobody can make a directory inside a file
    code, report, _ = finish(start(tmp_path, 0, path=str(tmp_path / "file")))
    assert code == 1
    (finding,) = [one for one in report["findings"] if one["id"] == "probe.finished"]
    assert 'Step "meet" failed' in finding["sentence"]
    assert "Not a directory" in finding["sentence"]


def test_a_hung_filesystem_ends_by_the_deadline_with_the_steps_name(tmp_path):
    # Opening a FIFO that nobody writes to never returns: as a dead mount does.
    channel = tmp_path / ".probe" / "r1" / "channel"
    channel.mkdir(parents=True)
    os.mkfifo(channel / "1.hello")
    code, report, _ = finish(start(tmp_path, 0, deadlineSeconds=1, timeoutSeconds=3))
    assert code == 1
    (finding,) = [one for one in report["findings"] if one["id"] == "probe.finished"]
    assert 'did not answer in step "meet"' in finding["sentence"]
    assert "open and read" in finding["sentence"]


def test_a_pod_that_is_told_to_end_cleans_up(tmp_path):
    process = start(tmp_path, 0)
    eventually((tmp_path / ".probe" / "r1" / "channel" / "0.hello").exists, "its first message", every_s=0.02)
    process.send_signal(signal.SIGTERM)
    code, report, _ = finish(process)
    assert code == 3
    assert verdicts(report)["probe.finished"] == "inconclusive"
    assert left(tmp_path) == []


@pytest.mark.parametrize("seconds", [0.0, 0.2, 0.8])
def test_two_pods_that_are_told_to_end_at_once_leave_nothing(tmp_path, seconds):
    """In whatever they are at, and though each removes what the other is removing too."""
    pods = [start(tmp_path, index) for index in (0, 1)]
    eventually((tmp_path / ".probe" / "r1" / "channel" / "0.strategy").exists, "the second step", every_s=0.005)
    time.sleep(seconds)
    for pod in pods:
        pod.send_signal(signal.SIGTERM)
    said = [finish(pod) for pod in pods]
    assert left(tmp_path) == [], said


@pytest.mark.parametrize(("index", "run"), [("2", "r1"), ("", "r1"), ("0", ""), ("0", "../x"), ("0", ".x")])
def test_a_wrong_environment_is_said(tmp_path, index, run):
    code, report, _ = finish(start(tmp_path, index, run=run))
    assert code == 3
    assert verdicts(report) == {"probe.environment": "inconclusive"}

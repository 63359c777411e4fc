# SPDX-License-Identifier: Apache-2.0
"""The probe on storage that hangs or fills up on the way: it waits out deadlines, which takes half a minute each."""

from __future__ import annotations

import os
import threading

import pytest

from tests.faultfs import build, mounted
from tests.faultfs.mounts import small
from tests.patience import CEILING_S
from tests.process.test_probe import finish, left, start, verdicts
from tests.process.test_probe_sick import finding, wait_for

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root"),
    pytest.mark.skipif(bool(build.missing()), reason=build.missing() or "-"),
]


def until_report(process, after):
    """Its output up to the report: a process that hangs in a filesystem may not be able to end. `after`: then done."""
    watchdog = threading.Timer(CEILING_S, after)
    watchdog.start()
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("{"):
            break
    watchdog.cancel()
    after()
    process.communicate(timeout=CEILING_S)
    return "".join(lines)


def test_a_filesystem_that_hangs_in_the_middle_is_named_with_step_and_call(tmp_path):
    (tmp_path / "disk").mkdir()
    with mounted(tmp_path / "disk", tmp_path / "mnt") as fs:
        pods = [start(fs.at, index, deadlineSeconds=12, timeoutSeconds=240) for index in (0, 1)]
        wait_for(tmp_path / "disk", ".probe/r1/lookup-0-*/*/block")
        fs.stop()
        out = until_report(pods[0], fs.kill)
        pods[1].communicate(timeout=CEILING_S)
    assert 'did not answer in step "' in out
    assert "is stuck in: " in out
    assert "Traceback" not in out


def test_a_full_volume_is_named(tmp_path):
    with small(tmp_path / "mnt", 24 << 20) as at:
        pods = [start(at, index, deadlineSeconds=60, timeoutSeconds=240) for index in (0, 1)]
        (code, report, _), _ = [finish(one) for one in pods]
        assert code == 1
        assert "No space left on device" in finding(report)["sentence"]
        assert 'Step "throughput"' in finding(report)["sentence"]
        assert "storage.size" in finding(report)["remedy"]
        assert verdicts(report)["probe.firstlookup"] == "pass"  # what was learnt before is not lost
        assert left(at) == []

# SPDX-License-Identifier: Apache-2.0
"""The probe on storage that is sick for real (a FUSE filesystem that fails on demand): each gives its sentence."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from llmd_storage_hooks.core.clock import SystemClock
from llmd_storage_hooks.probe.checks import completion
from llmd_storage_hooks.probe.collect.files import Files
from llmd_storage_hooks.probe.collect.peer import Peer
from llmd_storage_hooks.probe.config import ProbeConfig
from llmd_storage_hooks.probe.facts import Rank
from tests.faultfs import build, mounted
from tests.faultfs.mounts import small
from tests.patience import CEILING_S, eventually
from tests.process.test_probe import finish, left, start

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root"),
    pytest.mark.skipif(bool(build.missing()), reason=build.missing() or "-"),
]


def finding(report, check_id="probe.finished"):
    return next(one for one in report["findings"] if one["id"] == check_id)


def wait_for(place, pattern):
    eventually(lambda: list(place.glob(pattern)), pattern, every_s=0.01)


def test_slow_storage_passes(tmp_path):
    """Two milliseconds a round trip are what a network filesystem takes."""
    (tmp_path / "disk").mkdir()
    with mounted(tmp_path / "disk", tmp_path / "mnt", delay_us=2000) as fs:
        pods = [start(fs.at, index, deadlineSeconds=60, timeoutSeconds=240) for index in (0, 1)]
        (code, report, out), _ = [finish(one) for one in pods]
        assert code == 0, out
        assert report["numbers"]["filesystem"].startswith("fuse")
        assert set(report["numbers"]["strategySeconds"]) == {"rename_fsync", "exclusive"}
        assert report["numbers"]["strategy"] in ("rename_fsync", "exclusive")
        assert left(fs.at) == []


def test_an_io_error_is_named_with_its_step(tmp_path):
    (tmp_path / "disk").mkdir()
    with mounted(tmp_path / "disk", tmp_path / "mnt") as fs:
        pods = [start(fs.at, index, deadlineSeconds=12, timeoutSeconds=240) for index in (0, 1)]
        wait_for(tmp_path / "disk", ".probe/r1/lookup-0-*/*/block")
        fs.set(errno="EIO", on=("read",))
        code, report, _ = finish(pods[0])
        pods[1].communicate(timeout=CEILING_S)
    assert code == 1
    assert "Input/output error" in finding(report)["sentence"]
    assert "kernel logs" in finding(report)["remedy"]


def test_a_read_only_mount_is_named(tmp_path):
    with small(tmp_path / "mnt", 8 << 20) as at:
        subprocess.run(["mount", "-o", "remount,ro", str(at)], check=True)
        code, report, _ = finish(start(at, 0))
        assert code == 1
        assert "Read-only file system" in finding(report)["sentence"]
        assert "mounted read-only" in finding(report)["remedy"]


def test_a_root_squashed_export_is_named_with_its_owner(tmp_path):
    """What root's chown left undone: the folder is nobody's, and the pod's user may not write."""
    config = ProbeConfig(release="d", namespace="n", path=str(tmp_path / "mnt"), deadline_seconds=1, timeout_seconds=3)
    with small(tmp_path / "mnt", 8 << 20) as at:
        os.chown(at, 65534, 65534)
        at.chmod(0o755)
        for one in tmp_path.parents:  # the pod's user must get there at all
            if one.is_relative_to("/tmp") and str(one) != "/tmp":
                one.chmod(0o755)
        tmp_path.chmod(0o755)
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            os.setgroups([])
            os.setgid(1000)
            os.setuid(1000)
            peer = Peer(config, Rank(0, "r1", "n1"), Files(at), SystemClock(), lambda _: None)
            found = completion.finished(config, peer.run_steps(), None)
            os.write(write_end, json.dumps([found.verdict.value, found.sentence, found.remedy]).encode())
            os._exit(0)
        os.close(write_end)
        os.waitpid(child, 0)
    verdict, sentence, remedy = json.loads(os.read(read_end, 4000))
    assert verdict == "fail"
    assert "belongs to 65534:65534, mode 0755; this pod is uid 1000, groups 1000" in sentence
    assert "must not squash" in remedy

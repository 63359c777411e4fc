# SPDX-License-Identifier: Apache-2.0
"""The probe's parts: two pods as threads on one directory, one of which has trouble; and what they are made of."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import stat
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from llmd_storage_core import strategies
from llmd_storage_hooks.core.clock import Deadline, SystemClock
from llmd_storage_hooks.core.errors import DeadlinePassed, Stopped
from llmd_storage_hooks.core.kube import parse as kube_parse
from llmd_storage_hooks.core.timeout import CallTimeout, bounded
from llmd_storage_hooks.probe import run as hook
from llmd_storage_hooks.probe.checks import posix
from llmd_storage_hooks.probe.collect import mounts, selinux
from llmd_storage_hooks.probe.collect import peer as peering
from llmd_storage_hooks.probe.collect.channel import ABORT, FileChannel, PartnerAborted
from llmd_storage_hooks.probe.collect.files import Files
from llmd_storage_hooks.probe.collect.peer import Peer
from llmd_storage_hooks.probe.collect.steps import consistency, meet, transfer
from llmd_storage_hooks.probe.config import ProbeConfig
from llmd_storage_hooks.probe.facts import ObservedPod, Rank
from tests.patience import CEILING_S
from tests.unit.hooks.support import FakeClock, by_id


def left(path: Path) -> list[str]:
    return sorted(one.name for one in path.iterdir() if not one.name.startswith("termination"))


@pytest.mark.skipif(os.geteuid() != 0, reason="dropping to another user needs root")
def test_a_directory_of_another_user_gets_the_remedy(tmp_path):
    os.chmod(tmp_path, 0o755)
    for one in (tmp_path, *tmp_path.parents):  # the other user must get there at all
        if one.stat().st_uid == os.geteuid() and one.is_relative_to("/tmp") and one != Path("/tmp"):
            os.chmod(one, 0o755)
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        os.setuid(65534)
        rank = Rank(0, "r1", "n1")
        config = ProbeConfig(release="d", namespace="n", path=str(tmp_path), timeout_seconds=3, deadline_seconds=1)
        observed = Peer(config, rank, Files(tmp_path), SystemClock(), lambda _: None).run_steps()
        step = observed.steps[0]
        os.write(write_end, json.dumps([step.outcome, step.errno, step.detail]).encode())
        os._exit(0)
    os.close(write_end)
    os.waitpid(child, 0)
    outcome, number, detail = json.loads(os.read(read_end, 1000))
    assert (outcome, number) == ("error", 13)
    assert "belongs to 0:0, mode 0755; this pod is uid 65534, groups" in detail


# --- both pods as threads, so that one can be given broken files -----------------------------------------


class Broken(Files):
    """Raises or hangs on the operations whose label contains `on`."""

    def __init__(self, root, on, error=None, hang_s=0.0):
        self._on, self._error, self._hang_s = on, error, hang_s
        super().__init__(root)

    @property
    def doing(self):
        return self._doing

    @doing.setter
    def doing(self, label):
        self._doing = label
        if self._on in label and label:
            if self._hang_s:
                time.sleep(self._hang_s)
            if self._error:
                raise OSError(self._error, os.strerror(self._error))


def both(tmp_path, files_1, monkeypatch, deadline_s=60.0):
    """Runs pod 0 with sound files and pod 1 with the given ones. Returns the observations, and whether handed over."""
    # What is moved and how long it is looked at makes no difference to what these tests are about.
    monkeypatch.setattr(transfer, "FILE_BYTES", 64 * 1024)
    monkeypatch.setattr(meet, "SAMPLE_BYTES", 64 * 1024)
    monkeypatch.setattr(consistency, "REPLACE_MIN_S", 0.1)
    monkeypatch.setattr(peering, "EXCHANGE_S", 30.0 if deadline_s > 1 else 3.0)
    config = ProbeConfig(
        release="d", namespace="n", path=str(tmp_path), deadline_seconds=deadline_s, timeout_seconds=240
    )
    found = {}

    def zero():
        pod = Peer(config, Rank(0, "r", "n0"), Files(tmp_path), SystemClock(), lambda _: None)
        found["mine"] = pod.run_steps()
        found["theirs"] = pod.receive_observations()
        pod.clean_up()

    def one():
        pod = Peer(config, Rank(1, "r", "n1"), files_1, SystemClock(), lambda _: None)
        found["own"] = pod.run_steps()
        found["handed"] = not pod.timed_out() and pod.send_observations()

    threads = [threading.Thread(target=zero), threading.Thread(target=one)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(CEILING_S)
    return found


def test_an_error_on_one_pod_is_handed_over_at_once(tmp_path, monkeypatch):
    found = both(tmp_path, Broken(tmp_path, "publish-nothing-like-this", None), monkeypatch)
    assert found["handed"]
    assert all(step.outcome == "done" for step in found["theirs"].steps)
    found = both(tmp_path, Broken(tmp_path, "write .probe/r/permissions", 28), monkeypatch)
    assert found["theirs"].steps[-1].outcome == "error"
    assert found["theirs"].steps[-1].errno == 28
    assert found["mine"].steps[-1].outcome == "aborted"
    assert "No space left" in found["mine"].steps[-1].detail


def test_a_hang_on_the_other_pod_ends_this_one_by_its_deadline(tmp_path, monkeypatch):
    broken = Broken(tmp_path, "open and read .probe/r/replace", hang_s=8.0)
    found = both(tmp_path, broken, monkeypatch, deadline_s=1.0)
    assert found["own"].steps[-1].outcome == "timeout"
    assert "replace/target" in found["own"].steps[-1].operation
    assert found["mine"].steps[-1].outcome in ("deadline", "timeout")
    assert found["theirs"] is None


def test_a_pod_that_finds_nobody_to_hand_over_to_says_so(tmp_path, monkeypatch):
    # What is moved and how long it is looked at makes no difference to what these tests are about.
    monkeypatch.setattr(transfer, "FILE_BYTES", 64 * 1024)
    monkeypatch.setattr(meet, "SAMPLE_BYTES", 64 * 1024)
    monkeypatch.setattr(consistency, "REPLACE_MIN_S", 0.1)
    monkeypatch.setattr(peering, "EXCHANGE_S", 0.5)
    config = ProbeConfig(release="d", namespace="n", path=str(tmp_path), deadline_seconds=1, timeout_seconds=2)
    said = []
    pod = Peer(config, Rank(1, "r", "n1"), Files(tmp_path), SystemClock(), said.append)
    pod.run_steps()
    assert not pod.send_observations()
    assert any("could not hand" in line for line in said)
    pod.clean_up()
    assert left(tmp_path) == []


def test_where_hard_links_are_refused_they_have_no_numbers(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    found = both(tmp_path, Files(tmp_path), monkeypatch)
    assert {one.strategy for one in found["theirs"].lookups} == {"rename_fsync", "exclusive", "rename"}
    assert list(tmp_path.glob("**/*.tmp")) == []


def test_a_way_that_is_set_but_refused_is_an_error_of_the_step(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    config = ProbeConfig(release="d", namespace="n", path=str(tmp_path), deadline_seconds=2, timeout_seconds=20)
    pod = Peer(replace(config, publish="link"), Rank(0, "r", "n"), Files(tmp_path), SystemClock(), lambda _: None)
    other = Peer(replace(config, publish="link"), Rank(1, "r", "m"), Files(tmp_path), SystemClock(), lambda _: None)
    thread = threading.Thread(target=other.run_steps)
    thread.start()
    observed = pod.run_steps()
    thread.join(CEILING_S)
    assert observed.steps[-1].outcome == "error"
    assert observed.steps[-1].errno == 1


def test_a_pod_that_is_told_to_end_while_it_cleans_up_goes_on(tmp_path, monkeypatch):
    told = []

    def interrupted(work, deadline):
        if not told:
            told.append(work)
            raise Stopped
        bounded(work, deadline)

    config = ProbeConfig(release="d", namespace="n", path=str(tmp_path))
    said = []
    pod = Peer(config, Rank(0, "r", "n0"), Files(tmp_path), SystemClock(), said.append)
    (tmp_path / ".probe" / "r" / "channel").mkdir(parents=True)
    monkeypatch.setattr(peering, "bounded", interrupted)
    pod.clean_up()
    assert told and left(tmp_path) == []
    assert said == ["probe[0] scratch directory removed"]


@pytest.mark.parametrize(
    ("side", "moment"),
    [
        (hook.run_rank_0, "run_steps"),
        (hook.run_rank_0, "receive_observations"),
        (hook.run_rank_1, "run_steps"),
        (hook.run_rank_1, "send_observations"),
    ],
)
def test_a_pod_that_is_told_to_end_between_two_steps_cleans_up(tmp_path, monkeypatch, side, moment):
    def stop(*_):
        raise Stopped

    config = ProbeConfig(release="d", namespace="n", path=str(tmp_path))
    pod = Peer(config, Rank(0, "r", "n0"), Files(tmp_path), SystemClock(), lambda _: None)
    (tmp_path / ".probe" / "r" / "channel").mkdir(parents=True)
    monkeypatch.setattr(Peer, "run_steps", lambda self, *_: self.observations())
    monkeypatch.setattr(Peer, "met", lambda _: True)
    monkeypatch.setattr(Peer, moment, stop)
    with pytest.raises(Stopped):
        side(config, pod)
    assert left(tmp_path) == []


# --- pieces -------------------------------------------------------------------------------------------------


def test_a_folder_is_removed_by_two_at_once_while_a_third_writes_there(tmp_path):
    files, over = Files(tmp_path), threading.Event()
    for number in range(400):
        (tmp_path / "run" / str(number % 8)).mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / str(number % 8) / str(number)).touch()

    def write():
        for number in range(400):
            with contextlib.suppress(OSError):
                (tmp_path / "run" / f"late-{number}").touch()
        over.set()

    removers = [threading.Thread(target=files.remove_tree, args=("run",)) for _ in range(2)]
    for one in (writer := threading.Thread(target=write), *removers):
        one.start()
    for one in (writer, *removers):
        one.join(CEILING_S)
    assert over.is_set()
    assert left(tmp_path) == []


@pytest.mark.parametrize("what", [errno.ENOENT, errno.ENOTEMPTY])
def test_a_neighbour_that_is_quicker_or_not_done_is_no_reason_to_leave_the_rest(tmp_path, monkeypatch, what):
    """On CephFS: a file was gone between the listing and its removal, and the whole folder stayed."""
    remove, failed = shutil.rmtree, []

    def once(path):
        if not failed:
            failed.append(path)
            raise OSError(what, os.strerror(what), f"{path}/block")
        remove(path)

    monkeypatch.setattr(shutil, "rmtree", once)
    (tmp_path / "run" / "channel").mkdir(parents=True)
    Files(tmp_path).remove_tree("run")
    assert failed and left(tmp_path) == []


def test_what_cannot_be_looked_at_is_not_called_removed(tmp_path, monkeypatch):
    def fail(path, *_, **__):
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    said = []
    config = ProbeConfig(release="d", namespace="n", path=str(tmp_path))
    pod = Peer(config, Rank(0, "r", "n0"), Files(tmp_path), SystemClock(), said.append)
    (tmp_path / ".probe" / "r").mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setattr(os, "lstat", fail)
        pod.clean_up()
    assert len(said) == 1 and "could not remove the scratch directory" in said[0] and "Input/output error" in said[0]


def test_after_the_end_nothing_is_made_any_more(tmp_path):
    files = Files(tmp_path)
    files.mkdir("run")
    files.end()
    for late in (
        lambda: files.mkdir("run/more"),
        lambda: files.publish("run/block", b"x", "rename_fsync"),
        lambda: files.create_exclusive("run/block"),
    ):
        with pytest.raises(OSError, match="canceled"):
            late()
    files.remove_tree("run")
    assert left(tmp_path) == []


@pytest.mark.parametrize("strategy", strategies.STRATEGIES)
def test_every_way_to_publish_leaves_one_whole_file(tmp_path, strategy):
    files = Files(tmp_path)
    seconds = files.publish("block", b"x" * 100_000, strategy)
    assert seconds >= 0
    assert [one.name for one in tmp_path.iterdir()] == ["block"]
    assert files.read("block") == b"x" * 100_000
    assert files.names(".") == ["block"]


@pytest.mark.parametrize(
    ("seconds", "way"),
    [
        ({"rename_fsync": 1.0, "exclusive": 1.0}, "rename_fsync"),
        ({"rename_fsync": 1.2, "exclusive": 1.0}, "rename_fsync"),
        ({"rename_fsync": 1.3, "exclusive": 1.0}, "exclusive"),
    ],
)
def test_the_atomic_way_is_kept_unless_it_is_clearly_slower(seconds, way):
    assert strategies.best(seconds) == way


def test_a_way_that_is_set_is_not_chosen_anew():
    assert strategies.candidates("link", "ceph") == ("link",)


MOUNTINFO = """22 1 0:21 / / rw,relatime shared:1 - overlay overlay rw
30 22 0:30 / /mnt/kv\\040cache rw,relatime - ceph 10.0.0.1:/ rw
31 22 0:31 / /mnt/kv rw,relatime - nfs4 server:/ rw
32 31 0:32 / /mnt/kv rw,relatime - fuse.ceph-fuse x rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/mnt/kv cache/blocks", "ceph"),
        ("/mnt/kv", "fuse.ceph-fuse"),  # the later mount on one point hides the earlier
        ("/mnt/kvx", "overlay"),
        ("/", "overlay"),
    ],
)
def test_the_filesystem_of_a_path_is_the_innermost_mounts(tmp_path, path, kind):
    table = tmp_path / "mountinfo"
    table.write_text(MOUNTINFO)
    assert mounts.filesystem_of(path, str(table)) == kind
    connectors = pytest.importorskip("llmd_storage_connector.blocks.mounts")
    assert connectors.filesystem_of(path, str(table)) == kind
    assert mounts.filesystem_of(path, str(tmp_path / "none")) == ""


def test_options_that_decide_how_late_changes_are_seen_are_found_on_the_mount(tmp_path):
    table = tmp_path / "mountinfo"
    table.write_text(
        "1 0 0:1 / / rw - ext4 /dev/sda rw\n"
        "2 1 0:9 / /kv rw,relatime - nfs4 server:/kv rw,vers=4.1,acregmin=30,acregmax=30,acdirmin=30,acdirmax=30\n"
        "3 1 0:8 / /smb rw,relatime - cifs //server/kv rw,vers=3.1.1,actimeo=30,closetimeo=1\n"
    )
    assert mounts.caching_of("/kv/x", str(table)) == ("acdirmax=30", "acdirmin=30", "acregmax=30", "acregmin=30")
    assert mounts.caching_of("/smb", str(table)) == ("actimeo=30", "closetimeo=1")
    assert mounts.caching_of("/", str(table)) == ()


@pytest.mark.parametrize(
    ("free", "total", "expected"),
    [(5, 100, (5, 100)), (0, 100, (0, 100)), (0, 0, None), (2**64 - 1, 12, None)],
    ids=["ext4", "full", "btrfs", "CephFS"],
)
def test_inodes_are_known_where_the_filesystem_has_such_a_limit(tmp_path, monkeypatch, free, total, expected):
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_favail=free, f_files=total))
    assert Files(tmp_path).inodes() == expected


CONTAINER = "system_u:system_r:container_t:s0:c1,c2"


@pytest.mark.parametrize(
    ("label", "enforced", "mode", "named"),
    [
        (CONTAINER, "1", 0o700, True),
        (CONTAINER, None, 0o700, True),  # most containers do not see /sys/fs/selinux
        (CONTAINER, "0", 0o700, False),
        (CONTAINER, "1", 0o000, False),  # the mode explains it
        ("cri-containerd.apparmor.d (enforce)", "1", 0o700, False),
        ("unconfined", None, 0o700, False),
    ],
)
def test_selinux_is_named_only_where_owner_and_mode_allow_it(tmp_path, monkeypatch, label, enforced, mode, named):
    (tmp_path / "current").write_text(f"{label}\0")
    monkeypatch.setattr(selinux, "PROCESS_LABEL", str(tmp_path / "current"))
    monkeypatch.setattr(selinux, "ENFORCE", str(tmp_path / "enforce"))
    if enforced is not None:
        (tmp_path / "enforce").write_text(enforced)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    info = SimpleNamespace(st_mode=stat.S_IFDIR | mode, st_uid=1000, st_gid=1000)
    said = selinux.denial(tmp_path, info)
    assert (f"this pod has the label {CONTAINER}" in said) == named
    assert named or said == ""


def running(name, node, phase="Running"):
    raw = {"metadata": {"name": name}, "spec": {"nodeName": node}, "status": {"phase": phase}}
    return ObservedPod(kube_parse.pod(raw), None)


@pytest.mark.parametrize("phase", ["Running", "Succeeded"])
def test_two_pods_that_do_not_see_each_others_files_fail_whoever_was_first(tmp_path, monkeypatch, phase):
    """Each node mounts a disk of its own. Pod 1, if it gives up first, leaves the report to pod 0."""
    config = ProbeConfig(release="d", namespace="n", path="/kv", deadline_seconds=5, timeout_seconds=60)
    monkeypatch.setattr(hook, "observe_other", lambda config, rank: running("p", f"n{1 - rank.index}", phase))

    def peer(index):
        (tmp_path / str(index)).mkdir()
        return Peer(config, Rank(index, "r", f"n{index}"), Files(tmp_path / str(index)), FakeClock(), lambda _: None)

    first = hook.run_rank_1(config, peer(1))
    assert first.silent and not first.findings
    findings = by_id(hook.run_rank_0(config, peer(0)).findings)
    assert findings["probe.partner"].verdict.value == "fail"
    assert "neither saw the other's files" in findings["probe.partner"].sentence
    assert findings["probe.finished"].verdict.value == "skipped"
    assert not left(tmp_path / "0") and not left(tmp_path / "1")


def test_a_pod_that_started_a_moment_ago_is_waited_for_once_more(tmp_path, monkeypatch):
    """The first pod's time is nearly over when the second has its image: no reason to call the volume unshared."""
    files = Files(tmp_path)
    config = ProbeConfig(release="d", namespace="n", path=str(tmp_path), deadline_seconds=60, timeout_seconds=240)
    pod = Peer(config, Rank(0, "r", "n0"), files, FakeClock(), lambda _: None)

    def arrives():
        other = {"index": 1, "node": "n1", "uid": 1, "gid": 1}
        channel = FileChannel(files, ".probe/r/channel", 1, SystemClock())
        channel.send("hello", other)
        channel.send("clock", time.time())
        return True

    observed = pod.run_steps(arrives)
    assert pod.met()
    assert [one.outcome for one in observed.steps if one.name == "meet"] == ["done"]


def test_a_filesystem_that_replaces_no_open_file_is_not_refused_for_it(tmp_path, monkeypatch):
    """SMB: the cache never replaces a block, whose name stands for one content."""
    rename = os.rename

    def refusing(source, target):
        if Path(target).parent.name == "replace" and Path(target).exists():
            raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(source), None, str(target))
        rename(source, target)

    monkeypatch.setattr(os, "rename", refusing)
    monkeypatch.setattr(consistency, "REPLACE_MAX_S", 0.2)
    found = both(tmp_path, Files(tmp_path), monkeypatch)
    assert all(step.outcome == "done" for step in found["mine"].steps)
    assert found["theirs"].replace.versions == 1
    assert posix.rename(found["theirs"]).verdict.value == "warn"


def test_throughput_is_measured_to_the_storage_not_to_memory(tmp_path, monkeypatch):
    """A write that lies in the page cache when the clock stops is as quick as the node's memory, on any storage."""
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.readlink(f"/proc/self/fd/{descriptor}")))
    monkeypatch.setattr(meet, "candidates", lambda publish, filesystem: ("rename",))
    both(tmp_path, Files(tmp_path), monkeypatch)
    assert len([one for one in synced if "/throughput-" in one]) == 2 * transfer.FILES


def test_reading_past_the_page_cache_gives_all_of_a_file_of_any_length(tmp_path):
    files, data = Files(tmp_path), os.urandom(3 * 4096 + 17)
    (tmp_path / "block").write_bytes(data)
    try:
        assert files.read_direct("block") == data
    except OSError as error:  # this test's own filesystem may have no O_DIRECT
        assert error.errno == errno.EINVAL


def test_the_file_channel(tmp_path):
    clock = SystemClock()
    first, second = (FileChannel(Files(tmp_path), "channel", index, clock) for index in (0, 1))
    first.open()
    first.send("a", {"x": 1})
    assert second.has("a")
    assert second.receive("a", Deadline.after(clock, 1)) == {"x": 1}
    with pytest.raises(DeadlinePassed):
        second.receive("b", Deadline.after(clock, 0.05))
    first.send(ABORT, "no space")
    with pytest.raises(PartnerAborted, match="no space"):
        second.receive("b", Deadline.after(clock, 1))


def test_a_half_written_message_is_read_again(tmp_path):
    clock = SystemClock()
    channel = FileChannel(Files(tmp_path), "channel", 0, clock)
    channel.open()
    target = tmp_path / "channel" / "1.a"
    target.write_text("{")
    threading.Timer(0.2, lambda: target.write_text('{"body": 5}')).start()
    assert channel.receive("a", Deadline.after(clock, 3)) == 5


def test_waiting_for_mail_makes_the_listing_fresh(tmp_path):
    """A waiter touches the directory now and then, and leaves nothing in it."""
    clock = SystemClock()
    channel = FileChannel(Files(tmp_path), "channel", 0, clock)
    channel.open()
    before = (tmp_path / "channel").stat().st_mtime_ns
    with pytest.raises(DeadlinePassed):
        channel.receive("a", Deadline.after(clock, 1.3))
    assert (tmp_path / "channel").stat().st_mtime_ns > before
    assert list((tmp_path / "channel").iterdir()) == []


def test_a_signal_waits_until_the_thread_has_begun(monkeypatch):
    """Else the thread writes a traceback into the log of a probe that was merely told to end."""
    begun = []
    start = threading.Thread.start

    def start_amid_a_signal(self):
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        start(self)
        begun.append(self)

    def stop(signum, frame):
        raise Stopped

    monkeypatch.setattr(threading.Thread, "start", start_amid_a_signal)
    before = signal.signal(signal.SIGTERM, stop)
    try:
        with pytest.raises(Stopped):
            bounded(lambda: 5, Deadline.after(SystemClock(), 1))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert len(begun) == 1


def test_bounded_gives_back_values_and_errors_and_gives_up():
    clock = SystemClock()
    assert bounded(lambda: 5, Deadline.after(clock, 1)) == 5
    with pytest.raises(ZeroDivisionError):
        bounded(lambda: 1 // 0, Deadline.after(clock, 1))
    with pytest.raises(CallTimeout):
        bounded(lambda: time.sleep(1), Deadline.after(clock, 0.05), grace_s=0.05)

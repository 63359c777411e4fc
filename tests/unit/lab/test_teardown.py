"""A person would lose: a machine that is clean after `down`, and mounts that are not the lab's."""

from __future__ import annotations

from pathlib import Path

from tests.lab import cgroups
from tests.lab.teardown import mounts_below

TABLE = """proc /proc proc rw 0 0
ceph-fuse /var/lib/lab/run/ceph/root fuse.ceph-fuse rw 0 0
overlay /var/lib/lab/run/n1/with\\040space overlay rw 0 0
x /var/lib/lab/run/ceph/root/deeper tmpfs rw 0 0
x /var/lib/lab/running tmpfs rw 0 0
"""


def test_only_mounts_of_the_run_are_found_the_deepest_first() -> None:
    assert mounts_below(Path("/var/lib/lab/run"), TABLE) == [
        "/var/lib/lab/run/n1/with space",
        "/var/lib/lab/run/ceph/root/deeper",
        "/var/lib/lab/run/ceph/root",
    ]


def test_groups_of_version_1_are_made_found_and_removed(tmp_path: Path) -> None:
    for tree in ("cpu", "cpuset", "pids"):
        (tmp_path / tree).mkdir()
    for f in ("cpuset.cpus", "cpuset.mems"):
        (tmp_path / "cpuset" / f).write_text("0-1\n")
    (tmp_path / "cpu" / "someone-elses").mkdir()
    cgroups.create("llmd-n1", tmp_path)
    assert (tmp_path / "cpuset" / "llmd-n1" / "cpuset.cpus").read_text() == "0-1\n"
    (tmp_path / "cpu" / "llmd-n1" / "pod").mkdir()
    (tmp_path / "cpu" / "llmd-n1" / "pod" / "cgroup.procs").write_text("12\n34\n")
    assert cgroups.members(tmp_path) == {12, 34}
    assert len(cgroups.found(tmp_path)) == 3
    (tmp_path / "cpu" / "llmd-n1" / "pod" / "cgroup.procs").unlink()  # in a real tree it goes with the folder
    for f in ("cpuset.cpus", "cpuset.mems"):
        (tmp_path / "cpuset" / "llmd-n1" / f).unlink()
    cgroups.remove(tmp_path)
    assert cgroups.found(tmp_path) == []
    assert (tmp_path / "cpu" / "someone-elses").exists()


def test_groups_of_version_2_are_one_folder(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    cgroups.create("llmd-n1", tmp_path)
    assert cgroups.found(tmp_path) == [tmp_path / "llmd-n1"]


def test_a_control_group_that_the_kernel_still_holds_is_named_and_goes_later(tmp_path: Path) -> None:
    group = tmp_path / "memory" / "llmd-n1"
    (group / "pod").mkdir(parents=True)
    held = group / "pod" / "held"
    held.touch()
    assert cgroups.remove(tmp_path) == [group]
    held.unlink()
    assert cgroups.remove(tmp_path) == []
    assert not group.exists()

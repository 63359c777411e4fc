"""Control groups of the nodes, under version 1 (one tree a controller) or version 2 (one tree)."""

from __future__ import annotations

import os
from pathlib import Path

from tests.lab.paths import PREFIX

ROOT = Path("/sys/fs/cgroup")
V1_TREES = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd")


def is_v2(root: Path = ROOT) -> bool:
    return (root / "cgroup.controllers").exists()


def create(name: str, root: Path = ROOT) -> None:
    if is_v2(root):
        (root / name).mkdir(exist_ok=True)  # the kubelet turns the controllers on
        return
    for tree in V1_TREES:
        if (root / tree).is_dir():
            (root / tree / name).mkdir(exist_ok=True)
    for f in ("cpuset.cpus", "cpuset.mems"):  # empty in a new group: nothing could run in it
        (root / "cpuset" / name / f).write_text((root / "cpuset" / f).read_text())


def found(root: Path = ROOT) -> list[Path]:
    """Every control group of the lab, in whichever tree."""
    groups = [*root.glob(f"{PREFIX}-n*"), *root.glob(f"*/{PREFIX}-n*")]
    return sorted(g for g in groups if g.is_dir() and not g.parent.is_symlink())


def members(root: Path = ROOT) -> set[int]:
    pids: set[int] = set()
    for group in _all_groups(root):
        try:
            pids |= {int(p) for p in (group / "cgroup.procs").read_text().split()}
        except OSError:
            continue
    return pids


def remove(root: Path = ROOT) -> list[Path]:
    """Removes the lab's groups, the deepest first. Returns those that are still busy."""
    for group in _all_groups(root):
        try:
            group.rmdir()
        except OSError:
            continue
    return found(root)


def _all_groups(root: Path) -> list[Path]:
    """The lab's groups and all below them, the deepest first. Groups vanish while one looks: os.walk does not mind."""
    return [Path(folder) for top in found(root) for folder, _, _ in os.walk(top, topdown=False)]

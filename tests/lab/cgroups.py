"""Control groups of the nodes, under version 1 (one tree a controller) or version 2 (one tree)."""

from __future__ import annotations

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
    for group in found(root):
        for f in group.rglob("cgroup.procs"):
            try:
                pids |= {int(p) for p in f.read_text().split()}
            except (FileNotFoundError, OSError):
                continue
    return pids


def remove(root: Path = ROOT) -> list[Path]:
    """Removes the lab's groups, the deepest first. Returns those that are still busy."""
    for group in found(root):
        for d in sorted((d for d in group.rglob("*") if d.is_dir()), reverse=True):
            _rmdir(d)
        _rmdir(group)
    return found(root)


def _rmdir(d: Path) -> None:
    try:
        d.rmdir()
    except OSError:
        pass

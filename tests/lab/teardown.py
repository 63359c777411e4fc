"""Takes a run down, whatever state it is in, and lists what is left of one.

Everything is found twice: by the pid files of the run, and by what the kernel knows (network namespaces, control
groups, the mount table, command lines), so that a run that was killed half-way is taken down just the same.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tests.lab import cgroups
from tests.lab.errors import LabError
from tests.lab.inside import NETNS_DIR
from tests.lab.paths import PREFIX, Lab
from tests.lab.proc import components, output, start_time

# Ends in this order: what would start others anew, then what would hang without its server, then the rest.
FIRST = ("kubelet", "kube-controller")
THEN = ("ceph-fuse",)


def namespaces() -> list[str]:
    return sorted(p.name for p in NETNS_DIR.glob(f"{PREFIX}-*")) if NETNS_DIR.is_dir() else []


def mounts_below(folder: Path, table: str | None = None) -> list[str]:
    """Mount points at or below a folder, the deepest first; ``table`` is the text of /proc/self/mounts."""
    text = Path("/proc/self/mounts").read_text() if table is None else table
    points = [line.split()[1].encode().decode("unicode_escape") for line in text.splitlines() if line]
    return sorted((p for p in points if p == str(folder) or p.startswith(f"{folder}/")), reverse=True)


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def _all_pids() -> list[int]:
    return [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit()]


def netns_of(pid: int) -> int:
    try:
        return os.stat(f"/proc/{pid}/ns/net").st_ino
    except OSError:
        return 0


def _ours_by_kernel(lab: Lab) -> set[int]:
    inodes = {os.stat(NETNS_DIR / n).st_ino for n in namespaces()}
    marks = (f"{lab.run}/", f"{lab.golden}/config.toml")
    daemons = ("containerd", "kube", "ceph", "etcd", "csi")
    pids = cgroups.members()
    for pid in _all_pids():
        if netns_of(pid) in inodes:
            pids.add(pid)
            continue
        line = _command_line(pid)
        # By command line only the lab's kinds of daemons: a person's `tail` of a log is not ours to end.
        if any(m in line for m in marks) and any(d in line.split(" ")[0] for d in daemons):
            pids.add(pid)
    return pids


def processes(lab: Lab) -> set[int]:
    """Every live process of the lab, this one excepted."""
    pids = _ours_by_kernel(lab) | {c.pid for c in components(lab) if c.alive}
    return {p for p in pids if p != os.getpid() and start_time(p) is not None}


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _kill(pids: set[int]) -> None:
    for p in pids:
        try:
            os.kill(p, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _kill_all(lab: Lab, timeout_s: float) -> None:
    for names in (FIRST, THEN):
        _kill({p for p in processes(lab) if name_of(p).startswith(names)})
    end = time.monotonic() + timeout_s
    while left := processes(lab):
        if time.monotonic() > end:
            lines = "; ".join(f"{p} {_command_line(p)[:80]}" for p in sorted(left)[:5])
            raise LabError(f"{len(left)} processes do not end: {lines}")
        _kill(left)
        time.sleep(0.2)


def _remove_cgroups(timeout_s: float = 20) -> None:
    """A killed process of gigabytes is out of the lists long before the kernel has freed it and lets its group go."""
    end = time.monotonic() + timeout_s
    while cgroups.remove():
        if time.monotonic() > end:
            return  # leftovers names what stayed
        time.sleep(0.2)


def down(lab: Lab, timeout_s: float = 60) -> None:
    """Ends everything of a run and removes its traces. What is kept between runs (binaries, images, logs) stays."""
    _kill_all(lab, timeout_s)
    for point in [*mounts_below(lab.run), *mounts_below(lab.golden)]:
        output(["umount", "-l", point])
    for ns in namespaces():
        output(["ip", "netns", "del", ns])
    _remove_cgroups()
    if lab.run.exists():
        # Two image stores of tens of thousands of links; and never across a mount that could not be undone.
        output(["rm", "-rf", "--one-file-system", lab.run], timeout_s=120)
    if left := leftovers(lab):
        raise LabError("the lab is down, but these stayed:\n" + "\n".join(left))


def leftovers(lab: Lab) -> list[str]:
    """What a run left behind, a line each; nothing after a clean teardown."""
    found = [f"process {p}: {_command_line(p)[:120]}" for p in sorted(processes(lab))]
    found += [f"mount {m}" for m in (*mounts_below(lab.run), *mounts_below(lab.golden))]
    found += [f"network namespace {n}" for n in namespaces()]
    found += [f"control group {g}" for g in cgroups.found()]
    if lab.run.exists():
        found.append(f"folder {lab.run}")
    return found

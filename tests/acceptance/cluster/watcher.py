"""A pod that measures the cache directory all the while, and does to the claim what others might do."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tests.acceptance.cluster.log_pod import LogPod
from tests.cluster.harness import Cluster
from tests.patience import eventually

MOUNT = "/mnt/kv-cache"
BLOCKS = f"{MOUNT}/blocks"
FILLER = f"{MOUNT}/filler"
NAME = "watcher"

# All that is in the directory counts: unfinished and damaged files, manifests, the evictor's own.
_WATCH = """
import json, os, sys, time

published = {}  # a block's size never changes: a call saved for each, so that samples are close together

def size_of(path):
    total = 0
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                try:
                    if entry.is_dir(follow_symlinks=False):
                        total += size_of(entry.path)
                    elif entry.name in published:
                        total += published[entry.name]
                    else:
                        size = entry.stat(follow_symlinks=False).st_size
                        total += size
                        if entry.name.endswith(".kvb"):
                            published[entry.name] = size
                except FileNotFoundError:
                    continue
    except FileNotFoundError:
        pass
    return total

while True:
    began, found = time.time(), []
    try:
        found = [name for name in os.listdir(sys.argv[1] + "/.evictor") if name.startswith("leader-")]
    except FileNotFoundError:
        pass
    leader = max(found, key=lambda name: int(name[7:]), default="")
    print(json.dumps([began, size_of(sys.argv[1]), leader]), flush=True)
    time.sleep(max(0.05, 0.25 - (time.time() - began)))
"""
# Sparse, but a quota and statfs count it in full. Taken in one go, since what others free later is theirs to use, and
# only once the quota's count, which follows writing and removing by up to six seconds, agrees with what is there.
_FILL = """
import errno, json, os, sys, time

root, path = sys.argv[1:]
began = time.monotonic()

def space():
    found = os.statvfs(root)
    unit = found.f_frsize
    return max(unit, 4 << 20), (found.f_blocks - found.f_bavail) * unit, found.f_bavail * unit

def held():
    total = 0
    for folder, _, names in os.walk(root):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except FileNotFoundError:
                continue
    return total

while True:
    unit, used, free = space()
    if 0 <= held() - used < unit:  # what is shown is rounded to whole units
        try:
            with open(path, "wb") as file:
                os.truncate(file.fileno(), free - unit)
            break
        except OSError as error:
            if error.errno not in (errno.EDQUOT, errno.ENOSPC):
                raise
    if time.monotonic() - began > 120:
        sys.exit(f"{used} bytes are shown as used, {held()} are there, {free} could not be taken")
    time.sleep(0.5)
print(json.dumps({"taken": free - unit, "counted_s": time.monotonic() - began}))
"""


@dataclass(frozen=True)
class Sample:
    """at: by the clock of the machine; size: bytes in the directory; leader: the evictor's lock on the storage."""

    at: float
    size: int
    leader: str


class Watcher:
    """The pod, which has the evictor's image, ids and mount; a context manager."""

    def __init__(self, cluster: Cluster, namespace: str, evictor: str) -> None:
        self._cluster, self._namespace, self._evictor = cluster, namespace, evictor
        self._samples: list[Sample] = []

    def __enter__(self) -> Watcher:
        spec = self._cluster.get("deployment", self._evictor, "-n", self._namespace)["spec"]["template"]["spec"]
        container = {key: spec["containers"][0][key] for key in ("image", "imagePullPolicy", "securityContext")}
        container |= {
            "name": NAME,
            "command": ["python3", "-u", "-c", _WATCH, BLOCKS],
            "volumeMounts": [{"name": "kv-cache", "mountPath": MOUNT}],
            "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "256Mi"}},
        }
        pod = {
            "containers": [container],
            "securityContext": spec["securityContext"],
            "volumes": [one for one in spec["volumes"] if one["name"] == "kv-cache"],
        }
        self._pod = LogPod(self._cluster, self._namespace, NAME, pod, self._hear)
        self._pod.__enter__()
        eventually(lambda: self._samples, "the first sample")
        return self

    def __exit__(self, *_: object) -> None:
        self._pod.__exit__()

    def _hear(self, line: str) -> None:
        if line.startswith("["):
            self._samples.append(Sample(*json.loads(line)))

    def last(self) -> Sample:
        return self._samples[-1]

    def since(self, at: float) -> list[Sample]:
        return [one for one in list(self._samples) if one.at >= at]

    def fill(self) -> dict[str, float]:
        """Leave at most a unit of the filesystem (4 MiB) free. Returns: bytes taken, seconds waited for its count."""
        return dict(json.loads(self._exec("python3", "-c", _FILL, MOUNT, FILLER).split("\n")[-2]))

    def empty(self) -> None:
        self._exec("rm", "-f", FILLER)

    def llmd_kv(self, command: str, *arguments: str) -> Any:
        """What a command of llmd-kv says of the cache, as JSON."""
        environment = ("env", f"LLMD_KV_ROOT={BLOCKS}", "python3", "-m", "llmd_storage_evictor")
        said = self._exec(*environment, command, *arguments, "--output", "json")
        return json.loads(next(line for line in reversed(said.splitlines()) if line.startswith(("{", "["))))

    def _exec(self, *argv: str) -> str:
        return self._cluster.kubectl("exec", NAME, "-n", self._namespace, "--", *argv).ok().out

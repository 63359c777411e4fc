# SPDX-License-Identifier: Apache-2.0
"""What a probe pod observed. Fields are JSON types, since pod 1 sends its observations as a file."""

from __future__ import annotations

from dataclasses import dataclass

from llmd_storage_hooks.core.kube.image_errors import lacks_image
from llmd_storage_hooks.core.kube.objects import Event, PodState

SELINUX = "SELinux"  # a refusal's text has this word where it was SELinux that refused


@dataclass(frozen=True, slots=True)
class Pod:
    """A probe pod, as it describes itself to the other one."""

    index: int
    node: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class StepResult:
    """How a step ended.

    outcome: done, deadline (what it waited for did not come), timeout (a file operation did not return), error, aborted
    (the other pod gave up) or stopped (SIGTERM). operation: the file operation it was in.
    """

    name: str
    seconds: float
    outcome: str
    detail: str = ""
    operation: str = ""
    errno: int = 0


@dataclass(frozen=True, slots=True)
class Lookup:
    """One file that the other pod had just published. `first`: ok, missing or wrong (stale or torn data)."""

    strategy: str
    writer: int
    first: str
    seconds: float | None  # until the right content was read; None = not within the step's deadline


@dataclass(frozen=True, slots=True)
class Publish:
    """Seconds to publish one file."""

    strategy: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Replace:
    """Reads of a file that the other pod kept replacing by rename. torn: with parts of two versions."""

    reads: int
    versions: int
    torn: int
    missing: int


@dataclass(frozen=True, slots=True)
class Access:
    """What this pod could do with a file of the other pod. An error is "" when there was none."""

    writer: int
    written_uid: int
    written_gid: int
    seen_uid: int
    seen_gid: int
    read_error: str
    delete_error: str


@dataclass(frozen=True, slots=True)
class Exclusive:
    """won: numbers of the names, of `rounds`, that this pod created first."""

    rounds: int
    won: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Recreate:
    """A file that was deleted and created again. first: the first read after it: ok, missing, old or wrong. Seconds:
    None = never."""

    delete_seconds: float | None
    first: str
    seconds: float | None
    torn: int = 0  # reads that gave neither the old content nor the new


@dataclass(frozen=True, slots=True)
class Negative:
    """A name that was looked up before it existed. Seconds until it was found; None = never."""

    first: str
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Overwrite:
    """A file that pod 1 had read, and that pod 0 overwrote and closed, `rounds` times.

    stale: how often pod 1's first open gave the old content; seconds: the longest until the new one, None = never.
    """

    rounds: int
    stale: int
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Housekeeping:
    """Seconds until pod 1 observed pod 0's changes (None = never). unlinked: how reading a file that was deleted
    meanwhile ended: ok, wrong, or the error's text."""

    mtime_seconds: float | None
    listed_seconds: float | None
    unlinked: str


@dataclass(frozen=True, slots=True)
class SmallFiles:
    """Median seconds to create a small file, and to write and fsync it."""

    create_seconds: float
    sync_seconds: float


@dataclass(frozen=True, slots=True)
class Throughput:
    """Seconds to move `size_bytes`, `depth` files at a time."""

    direction: str  # write or read
    size_bytes: int
    seconds: float
    depth: int = 1  # files at once


@dataclass(frozen=True, slots=True)
class DirectRead:
    """A read past the page cache. `outcome`: ok, refused (the filesystem has none) or wrong (other bytes)."""

    outcome: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Observations:
    """Everything that one pod observed. None, or empty: its step was not reached, or is the other pod's."""

    pod: Pod
    steps: tuple[StepResult, ...] = ()
    partner: Pod | None = None
    clock_offset_seconds: float | None = None  # how far the other node's clock is ahead of this one's
    filesystem: str = ""  # type of the mount, as its client calls it
    caching: tuple[str, ...] = ()  # options of the mount by which this node sees changes late
    strategy: str = ""  # how the connector publishes on this filesystem
    samples: tuple[Publish, ...] = ()  # timed publishes by which the strategy was chosen, where there were several
    lookups: tuple[Lookup, ...] = ()
    publishes: tuple[Publish, ...] = ()
    replace: Replace | None = None
    access: Access | None = None
    exclusive: Exclusive | None = None
    recreate: Recreate | None = None
    negative: Negative | None = None
    overwrite: Overwrite | None = None
    housekeeping: Housekeeping | None = None
    small_files: SmallFiles | None = None
    throughput: tuple[Throughput, ...] = ()
    direct_read: DirectRead | None = None
    free_bytes: int | None = None
    total_bytes: int | None = None
    free_inodes: int | None = None  # None: the filesystem has no such limit, or does not say
    total_inodes: int | None = None


@dataclass(frozen=True, slots=True)
class ObservedPod:
    """A probe pod as the API server shows it, and the last warning about it."""

    state: PodState
    warning: Event | None

    @property
    def started(self) -> bool:
        """It has a node, its volumes are mounted there, and it does not wait for an image."""
        return self.state.mounted and bool(self.state.node) and not lacks_image(self.state)

    @property
    def ran(self) -> bool:
        """Its probe runs, or has ended as pod 1 ends when pod 0 is there to report."""
        return bool(self.state.node) and self.state.phase in ("Running", "Succeeded")


@dataclass(frozen=True, slots=True)
class Rank:
    """Which of the two pods this is, and of which run."""

    index: int
    run_id: str
    node: str

# SPDX-License-Identifier: Apache-2.0
"""What one probe pod observed. JSON-ready, because the second pod hands it over as a file."""

from __future__ import annotations

from dataclasses import dataclass

from llmd_storage_hooks.core.kube.objects import Event, PodState


@dataclass(frozen=True, slots=True)
class Pod:
    index: int
    node: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class StepResult:
    """`outcome`: done, deadline (a wait ended), timeout (a file operation never came back), error, aborted
    (the other pod gave up)."""

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
    strategy: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Replace:
    reads: int
    versions: int
    torn: int
    missing: int


@dataclass(frozen=True, slots=True)
class Access:
    """What this pod could do with a file of the other's. Errors are "" when there was none."""

    writer: int
    written_uid: int
    written_gid: int
    seen_uid: int
    seen_gid: int
    read_error: str
    delete_error: str


@dataclass(frozen=True, slots=True)
class Exclusive:
    rounds: int
    won: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Recreate:
    """`first`: what the first read after the re-creation gave: ok, missing, old or wrong."""

    delete_seconds: float | None
    first: str
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Negative:
    first: str
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Overwrite:
    """A file that pod 1 had read, written anew in its place and closed by pod 0, a few times over.

    `stale`: how often pod 1's first open gave the old content; seconds: the longest until the new one, None = never."""

    rounds: int
    stale: int
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Housekeeping:
    """Seconds until pod 1 saw what pod 0 had changed (None = never); `unlinked`: how reading a deleted file on ended:
    ok, wrong, or the error in words."""

    mtime_seconds: float | None
    listed_seconds: float | None
    unlinked: str


@dataclass(frozen=True, slots=True)
class SmallFiles:
    """Medians of small files, in seconds."""

    create_seconds: float
    sync_seconds: float


@dataclass(frozen=True, slots=True)
class Throughput:
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
    pod: Pod
    steps: tuple[StepResult, ...] = ()
    partner: Pod | None = None
    clock_offset_seconds: float | None = None  # how far the other node's clock is ahead of this one's
    filesystem: str = ""  # type of the mount, as its client calls it
    strategy: str = ""  # how the connector publishes on this filesystem
    samples: tuple[Publish, ...] = ()  # what chose between several ways
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


@dataclass(frozen=True, slots=True)
class ObservedPod:
    """A probe pod as the API server shows it, and the last warning about it."""

    state: PodState
    warning: Event | None

    @property
    def started(self) -> bool:
        """It has a node, and its volumes are mounted there."""
        return self.state.mounted and bool(self.state.node)


@dataclass(frozen=True, slots=True)
class Rank:
    """Who this pod is."""

    index: int
    run_id: str
    node: str

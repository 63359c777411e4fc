# SPDX-License-Identifier: Apache-2.0
"""How a finished file can get its name, and which way is right on which filesystem. Pure (publish.py does it).

They differ in what another node then pays for its first lookup: seconds, on some filesystems (CephFS: a plain rename
costs up to one MDS tick, 5 s, per file).
"""

from __future__ import annotations

from collections.abc import Mapping

RENAME_FSYNC = "rename_fsync"  # write a temporary, rename it while it is open, fsync the same descriptor
LINK = "link"  # write a temporary, link it to the name, unlink the temporary
EXCLUSIVE = "exclusive"  # O_EXCL create under the final name, write, close
RENAME = "rename"  # write a temporary, close it, rename it
STRATEGIES = (RENAME_FSYNC, LINK, EXCLUSIVE, RENAME)
# Chosen for the mount, by its filesystem and by measuring.
AUTO = "auto"
# Atomic on every POSIX filesystem, and the one atomic strategy that never met CephFS's five-second first lookup in 2000
# files (a link did, in one of fifty): docs/decisions/0001-publish.md.
DEFAULT = RENAME_FSYNC

LOCAL = ("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "tmpfs", "ramfs", "overlay")
CEPH = ("ceph", "fuse.ceph", "fuse.ceph-fuse")
# An atomic strategy is worth this much more time than the quickest one.
ATOMIC_IS_WORTH = 1.2
# Files that a strategy is measured with.
SAMPLES = 3


def candidates(strategy: str, filesystem: str) -> tuple[str, ...]:
    """What a configured strategy leaves on this filesystem (its type, as in mountinfo), the most wanted first."""
    if strategy != AUTO:
        return (strategy,)
    if filesystem in LOCAL:
        return (RENAME,)  # one kernel: a renamed file is seen at once, and a cache needs no fsync
    if filesystem in CEPH:
        return (RENAME_FSYNC,)
    return (RENAME_FSYNC, EXCLUSIVE)


def best(seconds: Mapping[str, float]) -> str:
    """Of strategies that were measured, the most wanted first: the one to use."""
    quickest = min(seconds.values())
    return next(strategy for strategy, took in seconds.items() if took <= quickest * ATOMIC_IS_WORTH)

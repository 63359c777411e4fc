# SPDX-License-Identifier: Apache-2.0
"""Publish strategies, named as in the connector's `publish` setting, and how the connector chooses one.

A copy of the connector's table, as the hooks do not import the connector. A test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping

# How a file gets its final name. On some filesystems they differ by seconds in another node's first lookup (CephFS: a
# plain rename costs up to one MDS tick, 5 s, per file).
RENAME_FSYNC = "rename_fsync"  # write a temporary, rename it while it is open, fsync the same descriptor
LINK = "link"  # write a temporary, link it to the name, unlink the temporary
EXCLUSIVE = "exclusive"  # O_EXCL create under the final name, write, close
RENAME = "rename"  # write a temporary, close it, rename it
STRATEGIES = (LINK, RENAME_FSYNC, EXCLUSIVE, RENAME)
# The connector's default: it chooses for the mount.
AUTO = "auto"

LOCAL = ("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "tmpfs", "ramfs", "overlay")
CEPH = ("ceph", "fuse.ceph", "fuse.ceph-fuse")
ATOMIC_IS_WORTH = 1.2  # an atomic strategy may take this many times as long as the quickest
SAMPLES = 3


def candidates(publish: str, filesystem: str) -> tuple[str, ...]:
    """The strategies that a value of `publish` allows on this filesystem, the preferred one first."""
    if publish != AUTO:
        return (publish,)
    if filesystem in LOCAL:
        return (RENAME,)
    if filesystem in CEPH:
        return (RENAME_FSYNC,)
    return (RENAME_FSYNC, EXCLUSIVE)


def best(seconds: Mapping[str, float]) -> str:
    """Of measured strategies, the preferred one first: the one that the connector takes."""
    quickest = min(seconds.values())
    return next(one for one, took in seconds.items() if took <= quickest * ATOMIC_IS_WORTH)

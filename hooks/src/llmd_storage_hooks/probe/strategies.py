# SPDX-License-Identifier: Apache-2.0
"""The ways to publish a file, by the names that the connector's `publish` setting has for them, and its choice.

A copy of the connector's table: the hooks see the system from outside. A test holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping

# How a file gets its final name. What another node then pays for its first look differs by seconds on some
# filesystems (CephFS: a plain rename costs up to one MDS tick, 5 s, per file), hence several.
RENAME_FSYNC = "rename_fsync"  # write a temporary, rename it while it is open, fsync the same descriptor
LINK = "link"  # write a temporary, link it to the name, unlink the temporary
EXCLUSIVE = "exclusive"  # O_EXCL create under the final name, write, close
RENAME = "rename"  # write a temporary, close it, rename it
STRATEGIES = (LINK, RENAME_FSYNC, EXCLUSIVE, RENAME)
# What the connector does when nothing is set: it chooses for the mount.
AUTO = "auto"

LOCAL = ("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "tmpfs", "ramfs", "overlay")
CEPH = ("ceph", "fuse.ceph", "fuse.ceph-fuse")
ATOMIC_IS_WORTH = 1.2  # an atomic way is worth this much more time than the quickest one
SAMPLES = 3


def candidates(publish: str, filesystem: str) -> tuple[str, ...]:
    """The ways that a value of the `publish` setting leaves on this filesystem, the most wanted first."""
    if publish != AUTO:
        return (publish,)
    if filesystem in LOCAL:
        return (RENAME,)
    if filesystem in CEPH:
        return (RENAME_FSYNC,)
    return (RENAME_FSYNC, EXCLUSIVE)


def best(seconds: Mapping[str, float]) -> str:
    """Of ways that were measured, the most wanted first: the one that the connector takes."""
    quickest = min(seconds.values())
    return next(way for way, took in seconds.items() if took <= quickest * ATOMIC_IS_WORTH)

# SPDX-License-Identifier: Apache-2.0
"""A user would lose: the way to publish that is right on their filesystem."""

from __future__ import annotations

from llmd_storage_connector.blocks.mounts import filesystem_of, type_in

MOUNTINFO = r"""22 28 0:20 / / rw shared:1 - overlay overlay rw
40 22 0:35 /claim /mnt/claim rw,relatime - nfs4 server:/x rw
41 22 0:36 / /mnt/claim/deeper rw shared:7 master:2 - fuse.ceph-fuse ceph-fuse rw
42 22 0:37 / /mnt/with\040space rw - lustre fs rw
43 22 0:38 / /mnt/twice rw - ext4 /dev/a rw
44 43 0:39 / /mnt/twice rw - ceph mon:/ rw
broken
""".replace("\\\\", "\\")


def test_the_deepest_mount_counts_and_of_two_the_last() -> None:
    assert type_in(MOUNTINFO, "/mnt/claim/blocks") == "nfs4"
    assert type_in(MOUNTINFO, "/mnt/claim") == "nfs4"
    assert type_in(MOUNTINFO, "/mnt/claim/deeper/blocks") == "fuse.ceph-fuse"
    assert type_in(MOUNTINFO, "/mnt/claimed") == "overlay"
    assert type_in(MOUNTINFO, "/mnt/twice/x") == "ceph"
    assert type_in(MOUNTINFO, "/mnt/with space/x") == "lustre"


def test_a_real_one() -> None:
    assert filesystem_of("/proc/self") == "proc"
    assert filesystem_of("/proc", mountinfo="/nowhere") == ""

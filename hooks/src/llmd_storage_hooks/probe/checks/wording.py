# SPDX-License-Identifier: Apache-2.0
"""Texts that the probe's checks share."""

from __future__ import annotations

import errno

from llmd_storage_hooks.core.verdicts import Finding, Verdict

SECURITY_LINK = "https://kubernetes.io/docs/tasks/configure-pod-container/security-context/"

ERRNO_REMEDY = {
    errno.EACCES: "Make the volume writable for the pods' user: set fsGroup (the chart does) and see that the "
    "storage honours it, or chown the export to uid 1000, gid 1000; an NFS export must not squash that user.",
    errno.EROFS: "The volume is mounted read-only: remove ro from the class's mountOptions or the claim's volume.",
    errno.ENOSPC: "The volume is full: enlarge storage.size, or delete blocks nobody needs.",
    errno.EDQUOT: "The quota of this volume is used up: raise it, or delete blocks nobody needs.",
    errno.EIO: "The filesystem reports I/O errors: see the nodes' kernel logs and the storage's own health.",
    errno.ESTALE: "The mount is stale: restart the pods so that the volume is mounted anew.",
    errno.ENOTCONN: "The node's mount helper is gone (FUSE): restart the CSI driver's pod on that node.",
}
ERRNO_REMEDY[errno.EPERM] = ERRNO_REMEDY[errno.EACCES]


def not_reached(check_id: str) -> Finding:
    """For a step that was not run, or whose observations did not come."""
    return Finding(check_id, Verdict.SKIPPED, "Not reached: the probe ended before this step was done.")


def duration(seconds: float) -> str:
    """Seconds or milliseconds, as text."""
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"

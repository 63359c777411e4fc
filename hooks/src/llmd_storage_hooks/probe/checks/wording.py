# SPDX-License-Identifier: Apache-2.0
"""Texts that the probe's checks share."""

from __future__ import annotations

import errno

from llmd_storage_hooks.core.verdicts import Finding, Verdict
from llmd_storage_hooks.probe.facts import SELINUX, Observations

SECURITY_LINK = "https://kubernetes.io/docs/tasks/configure-pod-container/security-context/"

ERRNO_REMEDY = {
    errno.EACCES: "Make the volume writable for the pods' user: set fsGroup (the chart does) and see that the "
    "storage honours it, or chown the export to uid 1000, gid 1000; an NFS export must not squash that user.",
    errno.EROFS: "The volume is mounted read-only: remove ro from the class's mountOptions or the claim's volume.",
    errno.ENOSPC: "The volume is full, or has no inode left (df -i): enlarge storage.size, raise its number of files, "
    "or delete blocks nobody needs.",
    errno.EDQUOT: "The quota of this volume is used up: raise it, or delete blocks nobody needs.",
    errno.EIO: "The filesystem reports I/O errors: see the nodes' kernel logs and the storage's own health.",
    errno.ESTALE: "The mount is stale: restart the pods so that the volume is mounted anew.",
    errno.ENOTCONN: "The node's mount helper is gone (FUSE): restart the CSI driver's pod on that node.",
}
ERRNO_REMEDY[errno.EPERM] = ERRNO_REMEDY[errno.EACCES]


_SELINUX_REMEDY = (
    "Pods and files need one SELinux level (global.podSecurity.seLinuxOptions; OpenShift gives each namespace one, in "
    "its annotation openshift.io/sa.scc.mcs), or have the volume mounted with a label that every container may use: "
    'storage.storageClass.mountOptions ["context=\\"system_u:object_r:container_file_t:s0\\""].'
)


def remedy(number: int, detail: str) -> str:
    """What to do about an errno; detail: what was seen of the file. "" = nothing is known."""
    denied = number in (errno.EACCES, errno.EPERM) and SELINUX in detail
    return _SELINUX_REMEDY if denied else ERRNO_REMEDY.get(number, "")


def cached(one: Observations) -> str:
    """The options of the reader's mount that explain a late view, as the begin of a remedy."""
    return f"That node mounts it with {', '.join(one.caching)}. " if one.caching else ""


def not_reached(check_id: str) -> Finding:
    """For a step that was not run, or whose observations did not come."""
    return Finding(check_id, Verdict.SKIPPED, "Not reached: the probe ended before this step was done.")


def duration(seconds: float) -> str:
    """Seconds or milliseconds, as text."""
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"

# SPDX-License-Identifier: Apache-2.0
"""Claim and probe: errors of provisioners, kubelets and mount programs about a volume, and what to do."""

from __future__ import annotations

import re

from llmd_storage_hooks.core.kube.objects import Event, Unknown

# Words of provisioners, kubelets and mount programs, and what to do about them; the first pattern that fits.
_REMEDIES = (
    (r"storageclass\S* .*not found", "Set storage.storageClassName to a class that kubectl get storageclass lists."),
    (r"no persistent volumes available",
     "No class makes a volume for this claim: set storage.storageClassName, or storage.persistentVolume.create=true."),
    (r"not found in the list of registered CSI drivers",
     "The CSI driver does not run on that node: see its DaemonSet (tolerations, nodeSelector)."),
    (r"Multi-Attach|already exclusively attached",
     "The volume can be attached to one node only: use a class backed by a shared filesystem."),
    (r"secret", "The Secret that the class or the volume names is missing or wrong: see its parameters."),
    (r"code = Unauthenticated|code = PermissionDenied|access denied|Permission denied",
     "The storage refuses the driver or the node: see its credentials, and the export's or the network's rules for "
     "the nodes' addresses."),
    (r"unknown filesystem type|you might need a /sbin/mount|executable file not found|bad option",
     "The node lacks the filesystem's client, or its kernel does not know an option: install the client on the "
     "nodes, and see the class's mountOptions."),
    (r"quota|ResourceExhausted|insufficient capacity",
     "The storage has no room for it: lower storage.size, or raise the quota."),
    (r"DeadlineExceeded|timed out|timeout|Connection refused|No route to host",
     "The node or the driver does not reach the storage: see the firewall, the network and the storage's address."),
    (r"InvalidArgument|OutOfRange|Unimplemented",
     "The driver does not take these parameters: set storage.storageClass.parameters, storage.size and "
     "storage.accessMode as its documentation says."),
)  # fmt: skip


def last_warning(pod: str, events: tuple[Event, ...] | Unknown) -> Event | None:
    """The last warning about a pod; of a mount before any other."""
    if isinstance(events, Unknown):
        return None
    warnings = [one for one in events if one.name == pod and one.warning]
    mounts = [one for one in warnings if one.reason in ("FailedMount", "FailedAttachVolume")]
    return next(reversed(mounts or warnings), None)


def remedy_for(message: str) -> str:
    """What to do about an error in these words; "" when they say nothing that is known."""
    return next((fix for pattern, fix in _REMEDIES if re.search(pattern, message, re.IGNORECASE)), "")

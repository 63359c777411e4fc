# SPDX-License-Identifier: Apache-2.0
"""Removes leftovers every minute, whatever the budget: of dead writers and probes, and unused namespaces.

Thread: one (the controller's).
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence

from llmd_storage_evictor.cache import cleanup
from llmd_storage_evictor.config import NamespaceRule
from llmd_storage_evictor.controller.eviction import BlockEvictor
from llmd_storage_evictor.core import policy
from llmd_storage_evictor.core.policy import NS, Reason

logger = logging.getLogger(__name__)


def remove_leftovers(
    evictor: BlockEvictor,
    rules: Mapping[str, NamespaceRule],
    scratch: list[tuple[str, str, list[str]]],
    *,
    unused: bool,
    rescan: Callable[[str], None],
) -> None:
    """scratch: (namespace, folder, names) of unfinished files, from the scan. unused: whether namespaces may go.

    rescan: looks at a namespace's times of use, which a scan reads rarely.

    Raises: OSError, LeadershipLost.
    """
    config, context, index = evictor.config, evictor.context, evictor.index
    now, may_remove = context.wall_clock(), context.may_remove
    namespaces, directory = index.namespaces(), context.directory
    gone = cleanup.remove_stale_scratch(directory, scratch, namespaces, now - config.scratch_keep_s, may_remove)
    context.metrics.removed_files.labels(Reason.SCRATCH.value).inc(len(gone))
    context.metrics.removed_bytes.labels(Reason.SCRATCH.value).inc(sum(size for _, size in gone))
    if config.effective_probe_dir:
        runs = cleanup.remove_stale_probes(config.effective_probe_dir, now - config.probe_keep_s, may_remove)
        context.metrics.removed_files.labels(Reason.PROBE.value).inc(len(runs))
    # Other connectors' readers leave no trace where the filesystem keeps no times of access.
    if not unused or directory.layout is not None:
        return
    last_used_ns = {}
    for name in namespaces:
        with contextlib.suppress(OSError):
            last_used_ns[name] = cleanup.namespace_last_used_ns(directory, name)

    def found() -> Sequence[str]:
        return policy.unused_namespaces(index.usage(), rules, last_used_ns, config, int(now * NS))

    for name in found():
        rescan(name)
        if name in found():
            _remove_namespace(evictor, name)


def _remove_namespace(evictor: BlockEvictor, namespace: str) -> None:
    """Stops when a block was used meanwhile."""
    directory, may_remove = evictor.context.directory, evictor.context.may_remove
    logger.info("removing an unused namespace", extra={"fields": {"namespace": namespace}})
    cleanup.remove_manifest(directory, namespace, may_remove)
    while entries := evictor.candidates([namespace]):
        if evictor.evict(entries, Reason.UNUSED) < len(entries):
            return
    if cleanup.remove_empty_folders(directory, namespace, may_remove):
        evictor.index.forget(namespace)

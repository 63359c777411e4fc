# SPDX-License-Identifier: Apache-2.0
"""What is swept now and then, whatever the budget: leftovers of the dead, and namespaces that nobody uses.

Thread: one (the round's).
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping

from llmd_storage_evictor.cache import cleanup
from llmd_storage_evictor.config import NamespaceRule
from llmd_storage_evictor.controller.eviction import Removals
from llmd_storage_evictor.core import policy
from llmd_storage_evictor.core.policy import NS, Reason

logger = logging.getLogger(__name__)


def sweep(removals: Removals, rules: Mapping[str, NamespaceRule], scratch: list[tuple[str, str, list[str]]]) -> None:
    """scratch: unfinished files that the look has found. Raises: AuthorityLost."""
    config, parts, index = removals.config, removals.parts, removals.index
    now, may_remove = parts.wall_clock(), parts.may_remove
    found = index.namespaces()
    gone = cleanup.remove_stale_scratch(parts.directory, scratch, found, now - config.scratch_keep_s, may_remove)
    parts.metrics.removed_files.labels(Reason.SCRATCH.value).inc(len(gone))
    parts.metrics.removed_bytes.labels(Reason.SCRATCH.value).inc(sum(size for _, size in gone))
    if config.probe_dir:
        runs = cleanup.remove_stale_probes(config.probe_dir, now - config.probe_keep_s, may_remove)
        parts.metrics.removed_files.labels(Reason.PROBE.value).inc(len(runs))
    last = {}
    for name in found:
        with contextlib.suppress(OSError):
            last[name] = cleanup.namespace_last_used_ns(parts.directory, name)
    for name in policy.unused(index.usage(), rules, last, config, int(now * NS)):
        _remove_namespace(removals, name)


def _remove_namespace(removals: Removals, namespace: str) -> None:
    """All of a namespace that nobody uses. A block that was used meanwhile ends it."""
    parts = removals.parts
    logger.info("removing a namespace that is not used any more", extra={"facts": {"namespace": namespace}})
    cleanup.remove_manifest(parts.directory, namespace, parts.may_remove)
    while entries := removals.candidates([namespace]):
        if removals.remove(entries, Reason.UNUSED) < len(entries):
            return
    if cleanup.remove_empty_folders(parts.directory, namespace, parts.may_remove):
        removals.index.forget(namespace)

# SPDX-License-Identifier: Apache-2.0
"""Probe: what two pods observed on the volume, to findings."""

from __future__ import annotations

import statistics
from typing import Any

from llmd_storage_hooks.core.verdicts import Finding
from llmd_storage_hooks.probe.checks import completion, eviction, performance, posix, visibility
from llmd_storage_hooks.probe.config import ProbeConfig
from llmd_storage_hooks.probe.facts import Observations, ObservedPod


def check(
    config: ProbeConfig, mine: Observations, theirs: Observations | None, other: ObservedPod | None = None
) -> list[Finding]:
    """mine: pod 0's; theirs: pod 1's, None when they did not come; other: pod 1 as the API server shows it, where it
    did not show up on the volume.
    """
    findings = [completion.partner(mine, config.path, other)]
    if mine.partner is not None:
        findings.append(completion.nodes(mine))
    findings.append(completion.finished(config, mine, theirs))
    if mine.partner is None:
        return findings
    lookups = mine.lookups + (theirs.lookups if theirs else ())
    return [
        *findings,
        visibility.visibility(lookups),
        visibility.first_lookup(lookups, mine.strategy),
        posix.rename(theirs),
        posix.permissions(mine, theirs),
        posix.exclusive(mine, theirs),
        visibility.recreate(theirs),
        visibility.negative(theirs),
        visibility.close_to_open(theirs),
        eviction.mtime(theirs),
        eviction.listing(theirs),
        eviction.unlinked(theirs),
        performance.space(mine),
        performance.direct_read(config, theirs),
        performance.throughput(config, mine, theirs),
    ]


def numbers(mine: Observations, theirs: Observations | None) -> dict[str, Any]:
    """What the report carries besides the findings."""
    lookups = mine.lookups + (theirs.lookups if theirs else ())
    published: dict[str, list[float]] = {}
    for one in mine.publishes + (theirs.publishes if theirs else ()):
        published.setdefault(one.strategy, []).append(one.seconds)
    found: dict[str, Any] = {
        "filesystem": mine.filesystem,
        "strategy": mine.strategy,
        "strategySeconds": {one.strategy: one.seconds for one in mine.samples},
        "stepSeconds": {step.name: step.seconds for step in mine.steps},
        "firstLookupSeconds": visibility.lookup_seconds(lookups),
        "publishSeconds": {name: round(statistics.median(all_s), 4) for name, all_s in published.items()},
        **performance.throughput_mibps(mine, theirs),
    }
    if mine.small_files is not None:
        found["createSeconds"] = mine.small_files.create_seconds
        found["fsyncSeconds"] = mine.small_files.sync_seconds
    if theirs is not None and theirs.overwrite is not None and theirs.overwrite.seconds is not None:
        found["staleSeconds"] = round(theirs.overwrite.seconds, 4)
    if mine.free_bytes is not None:
        found["freeBytes"] = mine.free_bytes
        found["totalBytes"] = mine.total_bytes
    if mine.clock_offset_seconds is not None:
        found["clockOffsetSeconds"] = mine.clock_offset_seconds
    return found

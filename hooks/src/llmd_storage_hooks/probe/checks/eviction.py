# SPDX-License-Identifier: Apache-2.0
"""Probe, eviction: what the evictor and a reader under eviction rely on."""

from __future__ import annotations

from llmd_storage_hooks.core.verdicts import Finding, Verdict
from llmd_storage_hooks.probe.checks.wording import cached, duration, not_reached
from llmd_storage_hooks.probe.facts import Observations

SLOW_S = 5.0  # the evictor scans less often than that


def mtime(theirs: Observations | None) -> Finding:
    """The other node sees a changed mtime in time."""
    check_id = "probe.mtime"
    if theirs is None or theirs.housekeeping is None:
        return not_reached(check_id)
    seconds = theirs.housekeeping.mtime_seconds
    observed = {"seconds": seconds}
    if seconds is None or seconds > SLOW_S:
        when = "did not see it" if seconds is None else f"saw it after {duration(seconds)}"
        return Finding(
            check_id,
            Verdict.WARN,
            f"One pod set a file's mtime, and the other node {when}: the evictor evicts by mtime, and would "
            "remove blocks that are in use.",
            f"{cached(theirs)}Shorten the filesystem's attribute caching (NFS: actimeo; FUSE: attribute_timeout), or "
            "mount it without options that drop or delay times.",
            observed=observed,
        )
    return Finding(
        check_id,
        Verdict.PASS,
        f"The other node saw a changed mtime after {duration(seconds)}.",
        observed=observed,
    )


def listing(theirs: Observations | None) -> Finding:
    """The other node lists a new file in time."""
    check_id = "probe.listing"
    if theirs is None or theirs.housekeeping is None:
        return not_reached(check_id)
    seconds = theirs.housekeeping.listed_seconds
    observed = {"seconds": seconds}
    if seconds is None or seconds > SLOW_S:
        when = "not at all" if seconds is None else f"after {duration(seconds)}"
        return Finding(
            check_id,
            Verdict.WARN,
            f"A new file appeared in the other node's listing {when}: the evictor counts what it lists, and would keep "
            "to its budget late.",
            f"{cached(theirs)}Shorten the filesystem's caching of folders (NFS: acdirmax; FUSE: no readdir cache).",
            observed=observed,
        )
    return Finding(
        check_id,
        Verdict.PASS,
        f"A new file was in the other node's listing after {duration(seconds)}.",
        observed=observed,
    )


def unlinked(theirs: Observations | None) -> Finding:
    """A reader of a file that is deleted gets its bytes or an error."""
    check_id = "probe.unlinked"
    if theirs is None or theirs.housekeeping is None:
        return not_reached(check_id)
    outcome = theirs.housekeeping.unlinked
    observed = {"outcome": outcome}
    if outcome == "ok":
        sentence = "A file that was deleted while the other node read it was read to its end."
        return Finding(check_id, Verdict.PASS, sentence, observed=observed)
    if outcome == "wrong":
        return Finding(
            check_id,
            Verdict.FAIL,
            "A file that was deleted while the other node read it gave other bytes than were written.",
            "Use a POSIX filesystem (CephFS, NFS, Lustre, ...); this one would give half a block for a whole one.",
            observed=observed,
        )
    sentence = f"A file that was deleted while the other node read it ended with an error ({outcome}): a miss, no harm."
    return Finding(check_id, Verdict.PASS, sentence, observed=observed)

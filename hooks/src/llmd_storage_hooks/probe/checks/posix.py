# SPDX-License-Identifier: Apache-2.0
"""Probe, POSIX: rename, permissions, exclusive create."""

from __future__ import annotations

import errno
from typing import Any

from llmd_storage_hooks.core.verdicts import Finding, Verdict
from llmd_storage_hooks.probe.checks.wording import SECURITY_LINK, not_reached, remedy
from llmd_storage_hooks.probe.facts import Access, Observations


def rename(theirs: Observations | None) -> Finding:
    """A reader never gets parts of two versions of a file that is replaced by rename."""
    check_id = "probe.rename"
    if theirs is None or theirs.replace is None:
        return not_reached(check_id)
    one = theirs.replace
    observed = {"reads": one.reads, "versions": one.versions, "torn": one.torn, "missing": one.missing}
    if one.torn:
        return Finding(
            check_id,
            Verdict.FAIL,
            f"{one.torn} of {one.reads} reads of a file that the other node kept replacing by rename gave "
            "parts of two versions: rename is not atomic here.",
            "Use a POSIX filesystem (CephFS, NFS, Lustre, ...), not an object store mounted as files.",
            observed=observed,
        )
    if one.missing or one.versions < 2:
        what = (
            f"was missing in {one.missing} of {one.missing + one.reads} reads"
            if one.missing
            else f"was seen in {one.versions} version(s) only"
        )
        return Finding(
            check_id,
            Verdict.WARN,
            f"A file that the other node kept replacing by rename {what}. The cache never replaces a block, so "
            "it can live with that.",
            "Nothing to set; shorten the filesystem's attribute caching if other programs share this volume.",
            observed=observed,
        )
    sentence = f"Rename is atomic: {one.reads} reads of {one.versions} versions, none torn."
    return Finding(check_id, Verdict.PASS, sentence, observed=observed)


def permissions(mine: Observations, theirs: Observations | None) -> Finding:
    """Each pod can read and delete the other's files, and owners are not mapped."""
    check_id = "probe.permissions"
    observed = [one.access for one in (mine, theirs) if one is not None and one.access is not None]
    if len(observed) < 2:
        return not_reached(check_id)
    facts = {f"fileOfPod{one.writer}": _owner(one) for one in observed}
    for one in observed:
        error = one.read_error or one.delete_error
        if error:
            verb = "read" if one.read_error else "delete"
            return Finding(
                check_id,
                Verdict.FAIL,
                f"Pod {1 - one.writer} cannot {verb} a file that pod {one.writer} made ({error}; it belongs to "
                f"{one.seen_uid}:{one.seen_gid}).",
                remedy(errno.EACCES, error),
                SECURITY_LINK,
                facts,
            )
    moved = [one for one in observed if one.seen_uid != one.written_uid]
    if moved:
        one = moved[0]
        return Finding(
            check_id,
            Verdict.WARN,
            f"Files of uid {one.written_uid} appear on the other node as uid {one.seen_uid}: the storage maps "
            "users. Reading and deleting worked.",
            "Nothing to set while it works; to be sure, let the storage keep uids (NFS: no all_squash).",
            SECURITY_LINK,
            facts,
        )
    sentence = "Each pod could read and delete the other's files."
    return Finding(check_id, Verdict.PASS, sentence, observed=facts)


def _owner(one: Access) -> dict[str, Any]:
    return {
        "written": f"{one.written_uid}:{one.written_gid}",
        "seen": f"{one.seen_uid}:{one.seen_gid}",
        "readError": one.read_error,
        "deleteError": one.delete_error,
    }


def exclusive(mine: Observations, theirs: Observations | None) -> Finding:
    """O_EXCL create has exactly one winner."""
    check_id = "probe.exclusive"
    if mine.exclusive is None or theirs is None or theirs.exclusive is None:
        return not_reached(check_id)
    first, second = set(mine.exclusive.won), set(theirs.exclusive.won)
    rounds = mine.exclusive.rounds
    both, none = first & second, set(range(rounds)) - first - second
    observed = {"rounds": rounds, "wonBy0": len(first), "wonBy1": len(second)}
    if both or none:
        return Finding(
            check_id,
            Verdict.FAIL,
            f"Exclusive create is not exclusive: of {rounds} names, {len(both)} were won by both pods and "
            f"{len(none)} by none.",
            "Use a filesystem with working O_EXCL between nodes (NFS: version 4; no object store mounted as files).",
            observed=observed,
        )
    sentence = f"Exclusive create had one winner in each of {rounds} races ({len(first)} to {len(second)})."
    return Finding(check_id, Verdict.PASS, sentence, observed=observed)

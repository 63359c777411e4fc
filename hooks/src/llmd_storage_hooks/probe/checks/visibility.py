# SPDX-License-Identifier: Apache-2.0
"""Probe, visibility: how soon does one node read what the other has changed?"""

from __future__ import annotations

import statistics

from llmd_storage_core.strategies import EXCLUSIVE
from llmd_storage_hooks.core.verdicts import Finding, Verdict
from llmd_storage_hooks.probe.checks.wording import cached, duration, not_reached
from llmd_storage_hooks.probe.facts import Lookup, Observations

# A prompt of many blocks waits that long for each (in parallel at best), so more than a second is too long.
SLOW_LOOKUP_S = 1.0


def visibility(lookups: tuple[Lookup, ...]) -> Finding:
    """Every published file is read whole by the other pod."""
    check_id = "probe.visibility"
    if not lookups:
        return not_reached(check_id)
    never = [one for one in lookups if one.seconds is None]
    # An exclusive create shows a file while it is being written, by its nature.
    wrong = [one for one in lookups if one.first == "wrong" and one.strategy != EXCLUSIVE]
    observed = {"files": len(lookups), "never": len(never), "firstWrong": len(wrong)}
    remedy = (
        "Use mount options that keep close-to-open consistency (NFS: no nocto, a short actimeo; GlusterFS: "
        "performance caches off), or another filesystem."
    )
    if never:
        return Finding(
            check_id,
            Verdict.FAIL,
            f"{len(never)} of {len(lookups)} files that one pod had published never became readable with their "
            "content on the other node.",
            remedy,
            observed=observed,
        )
    if wrong:
        return Finding(
            check_id,
            Verdict.FAIL,
            f"{len(wrong)} of {len(lookups)} finished files were first read with wrong content on the other "
            "node: what one pod wrote and closed is not what another then opens.",
            remedy,
            observed=observed,
        )
    sentence = f"All {len(lookups)} published files were read whole on the other node."
    return Finding(check_id, Verdict.PASS, sentence, observed=observed)


def first_lookup(lookups: tuple[Lookup, ...], strategy: str) -> Finding:
    """Files published by the connector's strategy are found within SLOW_LOOKUP_S."""
    check_id = "probe.firstlookup"
    by_strategy = lookup_seconds(lookups)
    used = by_strategy.get(strategy)
    if used is None:
        return not_reached(check_id)
    others = ", ".join(f"{name} {duration(one['high'])}" for name, one in by_strategy.items() if name != strategy)
    others = f" (others: {others})" if others else ""
    if used["high"] <= SLOW_LOOKUP_S:
        sentence = (
            f"Blocks published as the connector does ({strategy}) were found by the other node within "
            f"{duration(used['high'])}{others}."
        )
        return Finding(check_id, Verdict.PASS, sentence, observed=by_strategy)
    best = min(by_strategy, key=lambda name: by_strategy[name]["high"])
    remedy = (
        f"Set modelserver.storageTier.publish={best}, which took {duration(by_strategy[best]['high'])} here."
        if by_strategy[best]["high"] <= SLOW_LOOKUP_S
        else "No publish strategy is quick here: shorten the filesystem's caching of names (NFS: lookupcache=pos "
        "or a short actimeo; CephFS: a shorter mds_tick_interval)."
    )
    return Finding(
        check_id,
        Verdict.WARN,
        f"The other node needed {duration(used['high'])} for its first look at a freshly published block "
        f"({strategy}){others}; a prompt with such a block waits for it.",
        remedy,
        observed=by_strategy,
    )


def lookup_seconds(lookups: tuple[Lookup, ...]) -> dict[str, dict[str, float]]:
    """First lookups by strategy, of the files that were found at all: median, worst, and what is judged.

    Judged (`high`) is the worst but one: the very first look into a new tree may pay for more than its file.
    """
    found: dict[str, list[float]] = {}
    for one in lookups:
        if one.seconds is not None:
            found.setdefault(one.strategy, []).append(one.seconds)
    return {name: _spread(sorted(all_s)) for name, all_s in found.items()}


def _spread(ordered: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(ordered), 4),
        "high": round(ordered[-2] if len(ordered) > 2 else ordered[-1], 4),
        "max": round(ordered[-1], 4),
    }


def recreate(theirs: Observations | None) -> Finding:
    """A file that was deleted and created again is read with its new content."""
    check_id = "probe.recreate"
    if theirs is None or theirs.recreate is None:
        return not_reached(check_id)
    one = theirs.recreate
    observed = {"deleteSeconds": one.delete_seconds, "first": one.first, "seconds": one.seconds, "torn": one.torn}
    remedy = f"{cached(theirs)}Shorten the filesystem's attribute and name caching (NFS: actimeo, lookupcache=pos)."
    if one.torn or one.first == "wrong" or (one.seconds is None and one.first != "old"):
        what = "read parts of it" if one.torn or one.first == "wrong" else "never found it"
        return Finding(
            check_id,
            Verdict.FAIL,
            f"A file was deleted and made again on one node; the other node {what}.",
            remedy,
            observed=observed,
        )
    if one.first == "old":
        until = "all the time" if one.seconds is None else f"for {duration(one.seconds)}"
        return Finding(
            check_id,
            Verdict.WARN,
            f"A file was deleted and made again on one node; the other node read the old content {until}, whole. A "
            "block's name stands for one content, so the cache can live with that.",
            remedy,
            observed=observed,
        )
    assert one.seconds is not None
    slow = one.seconds > SLOW_LOOKUP_S
    if one.delete_seconds is None or one.delete_seconds > SLOW_LOOKUP_S or slow:
        gone = "not at all" if one.delete_seconds is None else f"after {duration(one.delete_seconds)}"
        return Finding(
            check_id,
            Verdict.WARN,
            f"The other node saw a deletion {gone} and the file made anew after {duration(one.seconds)}; evicted "
            "blocks will be looked for in vain for that long.",
            remedy,
            observed=observed,
        )
    sentence = (
        f"Delete and re-create were seen by the other node within {duration(max(one.seconds, one.delete_seconds))}."
    )
    return Finding(check_id, Verdict.PASS, sentence, observed=observed)


def negative(theirs: Observations | None) -> Finding:
    """A name that was looked up too early is found after it was published."""
    check_id = "probe.negative"
    if theirs is None or theirs.negative is None:
        return not_reached(check_id)
    one = theirs.negative
    observed = {"first": one.first, "seconds": one.seconds}
    remedy = (
        f"{cached(theirs)}Shorten how long clients remember missing names (NFS: lookupcache=pos; SMB: actimeo=1; FUSE: "
        "negative_timeout=0)."
    )
    if one.seconds is None:
        return Finding(
            check_id,
            Verdict.FAIL,
            "A node that had looked for a block before it existed did not find it after it was published, "
            "within the step's deadline.",
            remedy,
            observed=observed,
        )
    if one.seconds > SLOW_LOOKUP_S:
        return Finding(
            check_id,
            Verdict.WARN,
            f"A node that had looked for a block before it existed found it only {duration(one.seconds)} after that.",
            remedy,
            observed=observed,
        )
    sentence = f"A name that was looked for too early was found {duration(one.seconds)} after it was published."
    return Finding(check_id, Verdict.PASS, sentence, observed=observed)


def close_to_open(theirs: Observations | None) -> Finding:
    """Opening a file gives what the other pod had written and closed."""
    check_id = "probe.closetoopen"
    if theirs is None or theirs.overwrite is None:
        return not_reached(check_id)
    one = theirs.overwrite
    observed = {"rounds": one.rounds, "stale": one.stale, "seconds": one.seconds}
    if one.stale or one.seconds is None:
        until = "and never saw the new content" if one.seconds is None else f"for up to {duration(one.seconds)}"
        return Finding(
            check_id,
            Verdict.FAIL,
            f"No close-to-open consistency: a file that one node had written anew and closed was opened on the other "
            f"node with its old content, {one.stale} of {one.rounds} times, {until}.",
            "Switch off caching of attributes and content on the clients (GlusterFS: mount with attribute-timeout=0, "
            "entry-timeout=0 and direct-io-mode=enable, and set performance.quick-read and performance.stat-prefetch "
            "to off; NFS: no nocto, actimeo=0), or use another filesystem.",
            "https://man7.org/linux/man-pages/man5/nfs.5.html",
            observed,
        )
    sentence = (
        f"Close-to-open holds: {one.rounds} of {one.rounds} rewritten files were opened anew with their new content."
    )
    return Finding(check_id, Verdict.PASS, sentence, observed=observed)

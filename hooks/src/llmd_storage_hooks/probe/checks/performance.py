# SPDX-License-Identifier: Apache-2.0
"""Probe, performance: free space, throughput, reads past the page cache."""

from __future__ import annotations

from llmd_storage_hooks.core.verdicts import Finding, Verdict
from llmd_storage_hooks.probe.checks.wording import not_reached
from llmd_storage_hooks.probe.config import ProbeConfig
from llmd_storage_hooks.probe.facts import Observations

# Less free than either: the cache cannot grow any more.
LITTLE_BYTES = 256 * 1024**2
LITTLE_SHARE = 0.02
LITTLE_FILES = 1000


def space(mine: Observations) -> Finding:
    """The volume has free space."""
    check_id = "probe.space"
    free, total = mine.free_bytes, mine.total_bytes
    if free is None or total is None:
        return not_reached(check_id)
    observed = {
        "freeBytes": free,
        "totalBytes": total,
        "freeInodes": mine.free_inodes,
        "totalInodes": mine.total_inodes,
    }
    files, most = mine.free_inodes, mine.total_inodes
    if files is not None and most is not None and files < max(LITTLE_FILES, LITTLE_SHARE * most):
        left = "no inode is" if files == 0 else f"only {files} of {most} inodes are"
        return Finding(
            check_id,
            Verdict.FAIL if files == 0 else Verdict.WARN,
            f"On the volume {left} left: a block is a file, and new ones will be refused however many bytes are free.",
            "Raise the filesystem's number of files (many take it from the volume's size), or delete files.",
            observed=observed,
        )
    sentence = f"{_gib(free)} of {_gib(total)} are free on the volume"
    if free < LITTLE_BYTES or free < LITTLE_SHARE * total:
        fix = "Enlarge storage.size, let the evictor keep room, or delete blocks nobody needs."
        return Finding(
            check_id, Verdict.WARN, f"Only {sentence}: new blocks will soon be refused.", fix, observed=observed
        )
    return Finding(check_id, Verdict.PASS, f"{sentence}.", observed=observed)


def direct_read(config: ProbeConfig, theirs: Observations | None) -> Finding:
    """Reads with O_DIRECT give what was written."""
    check_id = "probe.directio"
    if theirs is None or theirs.direct_read is None:
        return not_reached(check_id)
    one = theirs.direct_read
    observed = {"outcome": one.outcome, "detail": one.detail, "directIo": config.direct_io}
    off = "Set modelserver.storageTier.directIo=off."
    if one.outcome == "ok":
        return Finding(
            check_id, Verdict.PASS, "Reading past the page cache (O_DIRECT) gives what was written.", observed=observed
        )
    if one.outcome == "wrong":
        return Finding(
            check_id,
            Verdict.WARN if config.direct_io == "off" else Verdict.FAIL,
            "Reading past the page cache (O_DIRECT) gave other bytes than the other pod had written.",
            off,
            observed=observed,
        )
    if config.direct_io == "on":
        sentence = f"modelserver.storageTier.directIo is on, but this filesystem refuses O_DIRECT ({one.detail})."
        return Finding(check_id, Verdict.FAIL, sentence, "Set it to auto or off.", observed=observed)
    sentence = f"The filesystem refuses O_DIRECT ({one.detail}); blocks are read through the page cache."
    return Finding(check_id, Verdict.PASS, sentence, observed=observed)


def throughput(config: ProbeConfig, mine: Observations, theirs: Observations | None) -> Finding:
    """Throughput, one file at a time or several, whichever is more, is not below the configured floors.

    A parallel filesystem is slow with one stream, and the connector has many.
    """
    check_id = "probe.throughput"
    rates = throughput_mibps(mine, theirs)
    if not rates:
        return not_reached(check_id)
    most: dict[str, float] = {}
    for name, rate in rates.items():
        direction = name.partition("At")[0]
        most[direction] = max(rate, most.get(direction, 0.0))
    sentence = ", ".join(f"{name[:-5]} {rate:.0f} MiB/s" for name, rate in most.items())
    low = [name for name, rate in most.items() if rate < config.floors.get(name, 0.0)]
    if low:
        floors = ", ".join(f"{name} {config.floors[name]:.0f}" for name in low)
        return Finding(
            check_id,
            Verdict.FAIL,
            f"The volume gives {sentence}, with several files at once: less than hooks.probe.floors asks ({floors}).",
            "Use a faster class or a larger volume (many backends scale with size), or lower hooks.probe.floors.",
            observed=rates,
        )
    return Finding(check_id, Verdict.PASS, f"The volume gives {sentence}.", observed=rates)


def throughput_mibps(mine: Observations, theirs: Observations | None) -> dict[str, float]:
    """By direction; with several files at once the name ends in their number (writeMiBpsAt8)."""
    both = mine.throughput + (theirs.throughput if theirs else ())
    return {
        f"{one.direction}MiBps{f'At{one.depth}' if one.depth > 1 else ''}": round(
            one.size_bytes / 2**20 / max(one.seconds, 1e-9), 1
        )
        for one in both
    }


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / 1024**3:.3g} GiB"

# SPDX-License-Identifier: Apache-2.0
"""Which folders to list in a pass, within so many metadata operations a second. Pure.

An operation is a stat, an open, or a hundred names of a listing (NFS and CephFS answer with some hundreds at once).
Each of four things has a share of them:

1. One stat of every folder a pass, which shows what has changed. Passes come as often as that can be paid.
2. Listings of changed folders. With many files in few folders each pass finds most of them changed, so they are taken
   in turns, a **sweep**: the folders that had changed when it began, until each was listed. What engines report to have
   written since the last whole sweep began is counted as held.
3. Listings of folders that look unchanged, since some filesystems and caching clients show a mtime late.
4. Stats of all files of a folder, for the mtimes that readers refresh. With millions of files a round takes a day: a
   file is statted again before it is removed in any case.

Folders that nothing is known of are listed at once, and counted nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from llmd_storage_evictor.core.index import Folder

NAMES_PER_OP = 100
# Each has its own, so that none takes all from another.
_LOOK_SHARE, _LISTING_SHARE, _RELIST_SHARE, _RESCAN_SHARE = 0.3, 0.4, 0.1, 0.2
# What may be spent at once after a time in which nothing was, in seconds of the rate.
_BURST_S = 10.0
UNLIMITED = float("inf")


class Place(NamedTuple):
    """A folder as a pass has found it. known: as last listed; None: never."""

    namespace: str
    folder: str
    changed_ns: int
    known: Folder | None

    @property
    def name(self) -> tuple[str, str]:
        """Identifies the folder."""
        return self.namespace, self.folder

    @property
    def changed(self) -> bool:
        """Whether files came or went since it was listed."""
        return self.known is None or self.changed_ns != self.known.changed_ns

    def list_ops(self) -> float:
        """What listing it costs, as far as it is known."""
        return 2 + len(self.known.ids) / NAMES_PER_OP if self.known else 2

    def rescan_ops(self) -> float:
        """What listing it and a stat of each file cost."""
        return self.list_ops() + (len(self.known.ids) if self.known else 0)


class Account:
    """Operations that may be spent: `rate` a second. It may be overdrawn by one item, and then has to be paid first."""

    def __init__(self, rate: float, now: float) -> None:
        self._rate, self._at = rate, now
        self.left = rate * _BURST_S

    def refill(self, now: float) -> None:
        """Add what the time has brought."""
        self.left = min(self._rate * _BURST_S, self.left + self._rate * max(0.0, now - self._at))
        self._at = now

    def spend(self, ops: float) -> None:
        """Take what something has cost."""
        self.left -= ops

    def wait_s(self) -> float:
        """Seconds until something can be spent again."""
        return max(0.0, -self.left) / self._rate


class ScanPlan:
    """What each pass lists. Thread: one. `relist_s`, `rescan_s`: least times between two of these of a folder."""

    def __init__(self, ops_s: float, relist_s: float, rescan_s: float, now: float) -> None:
        self._relist_s, self._rescan_s, self._now = relist_s, rescan_s, now
        self._looks, self._listings = Account(ops_s * _LOOK_SHARE, now), Account(ops_s * _LISTING_SHARE, now)
        self._relists, self._rescans = Account(ops_s * _RELIST_SHARE, now), Account(ops_s * _RESCAN_SHARE, now)
        self._sweep: set[tuple[str, str]] = set()  # of the sweep that has begun, what was not listed yet

    def begin(self, now: float, *, urgent: bool) -> bool:
        """Whether a pass can be paid now. urgent: it is made in any case, and lists all that has changed."""
        self._now = now
        for account in (self._looks, self._listings, self._relists, self._rescans):
            account.refill(now)
        return urgent or self._looks.left > 0

    def choose(self, found: Sequence[Place], *, urgent: bool) -> tuple[list[Place], list[Place]]:
        """Folders to list, and folders of which every file is statted as well. Requires: begin().

        found: all folders there are.
        """
        new = [place for place in found if place.known is None]
        changed = [place for place in found if place.known is not None and place.changed]
        if not self.sweeping:
            self._sweep = {place.name for place in (*new, *changed)}
        self._sweep &= {place.name for place in found}
        changed.sort(key=lambda place: (place.name not in self._sweep, place.known.listed_at if place.known else 0))
        if urgent:  # and counted nowhere, or nothing would be seen for as long as that takes to be paid
            listed = changed
        else:
            self._looks.spend(len(found) - len(new))
            listed = _as_far_as(changed, self._listings, Place.list_ops)
        taken = {place.name for place in listed}
        quiet = [place for place in found if place.name not in taken]
        listed += _as_far_as(_overdue(quiet, self._now - self._relist_s, _listed_at), self._relists, Place.list_ops)
        overdue = _overdue(found, self._now - self._rescan_s, _rescanned_at)
        rescanned = _as_far_as(overdue, self._rescans, Place.rescan_ops)
        taken = {place.name for place in rescanned}
        return [place for place in listed if place.name not in taken], new + rescanned

    def done(self, places: Iterable[Place]) -> None:
        """These were listed, or could not be."""
        self._sweep -= {place.name for place in places}

    @property
    def sweeping(self) -> bool:
        """Whether a sweep has begun and is not at its end."""
        return bool(self._sweep)

    def wait_s(self) -> float:
        """Seconds until the next pass can be paid."""
        return self._looks.wait_s()


def _overdue(found: Iterable[Place], before: float, last: Callable[[Place], float]) -> list[Place]:
    """Those that were looked at last before that time, longest ago first."""
    return sorted((place for place in found if place.known is not None and last(place) < before), key=last)


def _as_far_as(places: Iterable[Place], account: Account, cost: Callable[[Place], float]) -> list[Place]:
    """Those that can be paid, and are; one more than that, so that a large folder has its turn."""
    chosen = []
    for place in places:
        if account.left <= 0:
            break
        account.spend(cost(place))
        chosen.append(place)
    return chosen


def _listed_at(place: Place) -> float:
    return place.known.listed_at if place.known else 0.0


def _rescanned_at(place: Place) -> float:
    return place.known.rescanned_at if place.known else 0.0

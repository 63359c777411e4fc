# SPDX-License-Identifier: Apache-2.0
"""Where a prefix ends in storage, found by asking for a few of its blocks instead of all. Pure.

Blocks of a prefix are stored from its start, and a block is of use only when all before it are there. So the first
absent one is searched for: each round asks for blocks evenly spread over what is still open, all at once. Of 10 000
blocks three rounds of 64 questions find it. A block that is missing in the middle, which this cannot see, shows when
it is loaded: what comes before it is used, the rest is computed. One that was missing before is asked for, too.
"""

from __future__ import annotations

from collections.abc import Sequence


class PrefixSearch:
    """Finds the first absent one of `length` blocks.

    Invariant: all up to index `present` are taken as there; `absent` (or the end) is not there.
    Thread: the caller's lock.
    """

    def __init__(self, length: int, width: int) -> None:
        """width: questions that can be asked at once, at least 1."""
        self._width = max(1, width)
        self._round: list[int] = []
        self._waiting: set[int] = set()
        self._there: set[int] = set()
        self.present = -1
        self.absent = length

    @property
    def found(self) -> bool:
        """Whether `absent` is the first one that is not there."""
        return self.absent == self.present + 1

    def next_round(self) -> list[int]:
        """The next round's indices, in order. Requires: the last round was answered, not found yet."""
        gap = self.absent - self.present - 1
        count = min(self._width, gap)
        # The last one is among them: most often a prefix is there to its end.
        asked = [self.present + gap * step // count for step in range(1, count + 1)]
        return self._ask(asked)

    def doubt(self, indices: Sequence[int]) -> list[int]:
        """Ask for these as well, as far as a round goes. Returns: the next round's indices.

        Requires: found; the indices are in order, all of them below `absent`.
        """
        last = self.present
        self.present = indices[0] - 1
        return self._ask(sorted({*indices[: self._width], last}))

    def _ask(self, indices: list[int]) -> list[int]:
        self._round, self._waiting, self._there = indices, set(indices), set()
        return indices

    def note(self, index: int, present: bool) -> bool:
        """Note one result. Returns: whether the round is complete."""
        self._waiting.discard(index)
        if present:
            self._there.add(index)
        if self._waiting:
            return False
        for asked in self._round:
            if asked not in self._there:
                self.absent = asked
                break
            self.present = asked
        return True

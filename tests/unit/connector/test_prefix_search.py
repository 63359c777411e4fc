# SPDX-License-Identifier: Apache-2.0
"""A user would lose: hits, when the end of a prefix is found too early; or time, in too many questions."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from llmd_storage_connector.lookup.prefix_search import PrefixSearch


@settings(deadline=None)
@given(st.integers(1, 5000), st.integers(1, 64), st.floats(0, 1), st.randoms(use_true_random=False))
def test_the_first_absent_block_is_found(length: int, width: int, part: float, order: random.Random) -> None:
    stored = round(length * part)
    search, rounds = PrefixSearch(length, width), 0
    while not search.found:
        rounds += 1
        asked = search.next_round()
        assert 0 < len(asked) <= width
        assert asked == sorted(set(asked))
        answers = order.sample(asked, len(asked))
        for index in answers:
            assert search.note(index, index < stored) is (index == answers[-1])
    assert (search.present, search.absent) == (stored - 1, stored)
    assert width < 64 or rounds <= 3


@settings(deadline=None)
@given(st.integers(1, 500), st.sets(st.integers(0, 499)))
def test_with_holes_what_is_promised_ends_before_a_seen_one(length: int, holes: set[int]) -> None:
    search, seen_absent = PrefixSearch(length, 8), set()
    while not search.found:
        for index in search.next_round():
            present = index not in holes
            seen_absent |= set() if present else {index}
            search.note(index, present)
    assert not seen_absent or search.absent <= min(seen_absent)


@settings(deadline=None)
@given(st.integers(2, 500), st.sets(st.integers(0, 499), min_size=1), st.integers(1, 64), st.data())
def test_a_hole_that_is_doubted_ends_the_prefix(length: int, holes: set[int], width: int, data: st.DataObject) -> None:
    """Where a block was missing before it may be missing still, or have been stored since."""
    holes = {hole for hole in holes if hole < length - 1} or {0}
    doubted = data.draw(st.sets(st.integers(0, length - 1), max_size=width)) | {min(holes)}
    search, asked, doubts = PrefixSearch(length, width), 0, sorted(doubted)
    for index in search.next_round():  # of these none is a hole
        search.note(index, True)
    while not search.found:
        for index in search.next_round():
            search.note(index, True)
    pending = search.doubt(doubts)
    assert len(pending) <= width + 1
    while True:
        asked += len(pending)
        for index in pending:
            search.note(index, index not in holes)
        if search.found:
            break
        pending = search.next_round()
    assert search.absent <= min(holes) or min(holes) not in doubts[:width]
    assert asked <= 1 + width * 10


def test_what_is_there_again_costs_one_round() -> None:
    search = PrefixSearch(10_000, 64)
    for index in search.next_round():
        search.note(index, True)
    assert search.doubt([17, 4711]) == [17, 4711, 9999]
    for index in (17, 4711, 9999):
        search.note(index, True)
    assert search.found and search.absent == 10_000

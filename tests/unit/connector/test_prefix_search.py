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

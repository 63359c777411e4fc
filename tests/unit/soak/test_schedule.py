# SPDX-License-Identifier: Apache-2.0
"""A user would lose: what a soak of half an hour is to prove, if some of it never happened."""

from __future__ import annotations

import itertools
import random
from collections import Counter

from tests.soak.faults import FAULTS
from tests.soak.schedule import EVENT_EVERY, FAULT_S, REST_S, Turn, turns
from tests.soak.servers import EVENTS


def first(count: int, seed: int = 7, engines: int = 2) -> list[Turn]:
    return list(itertools.islice(turns(random.Random(seed), sorted(FAULTS), sorted(EVENTS), engines), count))


def test_each_fault_and_each_event_comes_once_before_one_comes_again() -> None:
    for round_of in range(3):
        faults = first(3 * len(FAULTS))[round_of * len(FAULTS) : (round_of + 1) * len(FAULTS)]
        assert sorted(turn.fault for turn in faults) == sorted(FAULTS)
    events = [turn.event for turn in first(6 * EVENT_EVERY * len(EVENTS)) if turn.event]
    assert Counter(events) == dict.fromkeys(EVENTS, 6)


def test_a_short_run_has_every_event() -> None:
    """Of two minutes: what a turn takes on average, and a restart after a reload."""
    turn_s = sum(FAULT_S) / 2 + sum(REST_S) / 2
    assert {turn.event for turn in first(int((120 - 40) / turn_s))} == {"", *EVENTS}


def test_events_meet_many_faults_and_both_engines() -> None:
    seen = [turn for turn in first(600) if turn.event]
    assert len({(turn.event, turn.fault) for turn in seen}) > len(EVENTS) * len(FAULTS) / 2
    assert {(turn.at, turn.to) for turn in seen} == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_a_seed_makes_the_same_run_again() -> None:
    assert first(50) == first(50) != first(50, seed=8)

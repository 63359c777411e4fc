# SPDX-License-Identifier: Apache-2.0
"""A user would lose: the budget, if an engine wrote more than it may; blocks, if it wrote less."""

from __future__ import annotations

from llmd_storage_connector.eviction.write_budget import VOID_S, WriteBudget
from tests.unit.connector.conftest import Clock


def budget_of(clock: Clock) -> WriteBudget:
    return WriteBudget(clock)


def test_without_an_evictor_there_is_no_limit() -> None:
    one = budget_of(Clock())
    assert not one.reserve(1) and not one.is_exhausted, "nobody has looked yet whether there is one"
    assert one.update(None) and one.reserve(10**15) and not one.is_low


def test_what_was_not_written_is_given_back_and_what_was_is_not() -> None:
    one = budget_of(clock := Clock())
    one.reported(clock())
    one.update(100)
    assert one.reserve(60) and not one.reserve(60) and one.is_exhausted
    one.settle(60, False)
    assert one.reserve(60) and not one.is_exhausted
    one.settle(60, True)
    assert one.written == 60 and not one.reserve(60)
    assert one.update(120) and one.reserve(60)
    assert not one.update(110), "a limit that is read late is no news"


def test_it_asks_for_more_before_all_is_used_up() -> None:
    one = budget_of(clock := Clock())
    one.reported(clock())
    one.update(100)
    assert one.reserve(40) and not one.is_low
    assert one.reserve(20) and one.is_low


def test_who_could_not_report_for_long_writes_nothing() -> None:
    """The evictor may have given its part to others."""
    one = budget_of(clock := Clock())
    one.update(100)
    assert not one.reserve(1), "nobody knows of this engine yet"
    one.reported(clock())
    assert one.reserve(1)
    clock.now += VOID_S + 1
    assert not one.reserve(1) and one.is_exhausted

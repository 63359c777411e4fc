"""A user would lose: a table that says "met" where it is not."""

from __future__ import annotations

import pytest

from tests.bench.rows import LIMIT, OURS, STOCK, Goal, Row, paired_ratio, percentile, quicker


def test_a_ratio_pairs_the_repeats_so_that_a_machine_that_slows_down_does_not_change_it() -> None:
    ours, other = [90.0, 9.0, 0.9], [100.0, 10.0, 1.0]
    assert paired_ratio(ours, other) == pytest.approx(0.9)


def test_a_ratio_of_sides_with_different_numbers_of_repeats_is_that_of_their_medians() -> None:
    assert paired_ratio([2.0, 4.0, 6.0], [8.0]) == 0.5


def test_no_limit_is_below_what_the_stock_tier_reaches() -> None:
    assert quicker([1.0, 9.0, 2.0], [3.0, 3.0, 3.0])[0] == [3.0, 3.0, 3.0]
    assert "stock" in quicker([2.0], [3.0])[1]
    assert quicker([4.0], [3.0]) == ([4.0], "")
    assert quicker([4.0], []) == ([4.0], "")
    assert quicker([], [3.0])[0] == [3.0]


def test_there_is_no_ratio_to_a_side_that_was_not_measured() -> None:
    assert paired_ratio([1.0], []) is None


@pytest.mark.parametrize(
    ("goal", "met"),
    [
        (Goal(LIMIT, 0.8), True),
        (Goal(LIMIT, 0.81), False),
        (Goal(STOCK, 2.0), True),
        (Goal(STOCK, 1.9, at_least=False), False),
        (Goal(OURS, 80.0), True),
        (Goal(OURS, 79.0, at_least=False), False),
    ],
    ids=["limit reached", "limit missed", "stock reached", "above a ceiling", "figure reached", "figure above"],
)
def test_a_goal_is_met_only_by_the_side_it_names(goal: Goal, met: bool) -> None:
    row = Row("r", "MiB/s", [80.0], [40.0], [100.0], goal)
    assert row.met is met
    assert row.as_json()["met"] is met


def test_a_row_whose_other_side_is_missing_is_not_met_nor_missed() -> None:
    assert Row("r", "s", [1.0], goal=Goal(STOCK, 2)).met is None


def test_a_row_for_information_has_no_verdict_but_a_ratio() -> None:
    row = Row("r", "s", [1.0], [4.0])
    assert (row.met, row.ratio, row.as_json()["target"]) == (None, 0.25, None)


def test_json_says_median_spread_and_every_repeat_of_each_side() -> None:
    shown = Row("r", "s", [3.0, 1.0, 2.0], [4.0], goal=Goal(STOCK, 1, at_least=False)).as_json()
    assert (shown["ours"], shown["stock"], shown["limit"]) == (2.0, 4.0, None)
    assert shown["spread"]["ours"] == {"min": 1.0, "median": 2.0, "max": 3.0}
    assert shown["spread"]["limit"] is None
    assert shown["repeats"]["ours"] == [3.0, 1.0, 2.0]
    assert shown["target"] == "≤ 1 x stock"


@pytest.mark.parametrize(("share", "value"), [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0), (0.0, 1.0)])
def test_a_percentile_is_a_value_that_was_seen(share: float, value: float) -> None:
    assert percentile([float(number) for number in range(100, 0, -1)], share) == value

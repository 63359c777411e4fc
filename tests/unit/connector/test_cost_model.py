# SPDX-License-Identifier: Apache-2.0
"""A user would lose: time, to storage that is slower than computing; or hits, to a storage that is not."""

from __future__ import annotations

from typing import Any, cast

import pytest

from llmd_storage_connector.transfer.cost_model import (
    EPISODE_S,
    FIRST_RETRY_S,
    LONGEST_RETRY_S,
    SHORTEST_S,
    STRIKES,
    CostModel,
)
from llmd_storage_connector.transfer.tasks import LoadProgress

TOKENS = 64


def cost_model(token_s: float = 0.001) -> CostModel:
    """An engine that computes a block in 64 ms."""
    made = CostModel(TOKENS)
    made.step_done(1000, 1000 * token_s)
    return made


def load(seconds: float, part: float, first: tuple[float, float] = (0.0, 0.0), others: bool = True) -> LoadProgress:
    """One that had the part first[1] of it after first[0] seconds."""
    return LoadProgress(cast(Any, None), seconds, part, *first, others)


def strike_out(made: CostModel, at: float = 0.0) -> float:
    """Bad loads until storage is left out. Returns: when the last one was."""
    for strike in range(STRIKES):
        made.load_cancelled(at + strike * EPISODE_S)
    return at + (STRIKES - 1) * EPISODE_S


def test_as_long_as_nothing_is_known_storage_is_used() -> None:
    made = CostModel(TOKENS)
    made.load_done(10, 100.0, 0.0)
    assert not made.skips_storage(0.0)
    assert not made.should_cancel(10, load(100.0, 0.0, others=False))
    assert made.lookup_timeout_s(10, 2.0) == 2.0


def test_slow_storage_is_left_out_and_tried_again() -> None:
    made = cost_model()
    now = strike_out(made)
    assert [made.skips_storage(now + later) for later in (0.0, 1.0, FIRST_RETRY_S - 1)] == [True] * 3
    assert not made.skips_storage(now + FIRST_RETRY_S)
    assert made.skips_storage(now + FIRST_RETRY_S + 1), "one request tries, not all"
    made.load_done(10, 0.1, now + FIRST_RETRY_S + 1)
    assert not made.skips_storage(now + FIRST_RETRY_S + 2)


def test_each_bad_trial_doubles_the_pause_up_to_a_limit() -> None:
    made = cost_model()
    now = strike_out(made)
    for pause in (FIRST_RETRY_S, 2 * FIRST_RETRY_S, 4 * FIRST_RETRY_S, 8 * FIRST_RETRY_S, *[LONGEST_RETRY_S] * 3):
        assert made.skips_storage(now + pause - 0.1)
        now += pause
        assert not made.skips_storage(now)
        made.load_cancelled(now)


@pytest.mark.parametrize("later", [0.0, EPISODE_S - 0.1])
def test_one_bad_moment_does_not_shut_the_cache_for_everybody(later: float) -> None:
    """Also when many loads were under way in it."""
    made = cost_model()
    for _ in range(10):
        made.load_cancelled(later)
    assert not made.skips_storage(later)


def test_a_good_load_between_bad_ones_keeps_the_cache_open() -> None:
    made = cost_model()
    for at in range(20):
        made.load_cancelled(10.0 * at)
        made.load_done(10, 0.1, 10.0 * at + 1)
        assert not made.skips_storage(10.0 * at + 2)


def test_quick_storage_is_never_left_out() -> None:
    made = cost_model()
    for at in range(100):
        made.load_done(10, 0.2, at)
        assert not made.skips_storage(at)


def test_storage_that_never_says_in_time_what_it_has_is_left_out() -> None:
    """Each request would wait in vain for a part of a second, and nothing be loaded that could be found slow."""
    made = cost_model()
    for at in range(STRIKES):
        assert not made.skips_storage(at)
        made.lookup_late(EPISODE_S * at)
    now = EPISODE_S * (STRIKES - 1)
    assert made.skips_storage(now + FIRST_RETRY_S - 0.1)
    assert not made.skips_storage(now + FIRST_RETRY_S), "one tries"
    made.lookup_late(now + FIRST_RETRY_S)
    assert made.skips_storage(now + 3 * FIRST_RETRY_S - 0.1), "the pause doubles"
    made.lookup_done()
    assert not made.skips_storage(now + 3 * FIRST_RETRY_S - 0.1)


def test_quick_answers_say_nothing_of_loads() -> None:
    made = cost_model()
    now = strike_out(made)
    made.lookup_done()
    assert made.skips_storage(now)


def test_loads_that_ended_well_and_late_count_too() -> None:
    made = cost_model()
    for at in range(STRIKES):
        assert not made.skips_storage(at)
        made.load_done(10, 10.0, 2.0 * at)
    assert made.skips_storage(2.0 * STRIKES)


def test_a_load_is_given_up_when_it_cannot_win() -> None:
    made = cost_model()  # 100 blocks: 6.4 s
    assert not made.should_cancel(100, load(0.5, 0.0, others=False)), "too early to tell"
    assert made.should_cancel(100, load(0.7, 0.0, others=False))
    assert not made.should_cancel(100, load(0.7, 0.0)), "it may be the next in the queue"
    assert made.should_cancel(100, load(0.7, 0.05, (0.1, 0.01)))
    assert not made.should_cancel(100, load(0.7, 0.5, (0.1, 0.01)))
    assert made.should_cancel(100, load(6.5, 0.5, (0.1, 0.01)))


def test_a_first_slow_block_decides_nothing() -> None:
    """It opens folders, wakes the client and the server: the others come at another pace."""
    made = cost_model()  # 48 blocks: 3.1 s
    assert not made.should_cancel(48, load(0.3, 1 / 48, (0.25, 1 / 48)))
    assert not made.should_cancel(48, load(0.3, 3 / 48, (0.25, 1 / 48)))
    assert made.should_cancel(48, load(0.3, 2 / 48, (0.01, 1 / 48)))


def test_early_only_what_is_far_from_winning_is_given_up() -> None:
    made = cost_model()  # 100 blocks: 6.4 s
    assert not made.should_cancel(100, load(0.8, 0.08)), "10 s at this pace, and it has hardly begun"
    assert made.should_cancel(100, load(2.4, 0.24)), "10 s at this pace, after 2.4 s"


def test_while_others_run_a_load_may_take_as_long_again() -> None:
    """What it saves is theirs."""
    made = cost_model()
    made.step_begun(3)
    assert not made.should_cancel(100, load(2.4, 0.24))
    made.load_done(100, 10.0, 0.0)
    assert not made.skips_storage(0.0)
    made.step_begun(0)
    assert made.should_cancel(100, load(2.4, 0.24))


def test_the_fastest_prefill_ever_does_not_decide() -> None:
    """An engine was quick while it was alone; now ten requests share it."""
    made = cost_model(token_s=0.0001)
    for _ in range(200):
        made.step_done(1000, 1.0)
    compute = made.compute_s(10)
    assert compute is not None and compute > 0.8 * 0.64


def test_short_waits_do_not_decide() -> None:
    """A single block always takes a few round trips, also on storage that is quick for many."""
    made = cost_model(token_s=0.00001)
    for at in range(STRIKES + 1):
        made.load_done(1, SHORTEST_S - 0.01, 2.0 * at)
    assert not made.skips_storage(100.0)
    assert not made.should_cancel(1, load(SHORTEST_S - 0.01, 0.0, others=False))


def test_a_request_waits_for_answers_a_twelfth_of_what_computing_takes() -> None:
    made = cost_model()
    assert 0.53 < made.lookup_timeout_s(100, 2.0) < 0.54
    assert made.lookup_timeout_s(1000, 2.0) == 2.0
    assert made.lookup_timeout_s(1, 2.0) == SHORTEST_S


def test_decoding_says_nothing_of_prefill() -> None:
    made = CostModel(TOKENS)
    made.step_done(8, 1.0)
    assert made.compute_s(1) is None


def test_it_can_be_switched_off() -> None:
    made = CostModel(TOKENS, enabled=False)
    made.step_done(1000, 0.001)
    strike_out(made)
    assert not made.skips_storage(EPISODE_S)
    assert not made.should_cancel(10, load(100.0, 0.0, others=False))

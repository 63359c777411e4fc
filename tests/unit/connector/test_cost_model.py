# SPDX-License-Identifier: Apache-2.0
"""A user would lose: time, to storage that is slower than computing; or hits, to a storage that is not."""

from __future__ import annotations

from llmd_storage_connector.transfer.cost_model import RETRY_S, CostModel

TOKENS = 64


def worth(token_s: float = 0.001) -> CostModel:
    """An engine that computes a block in 64 ms."""
    made = CostModel(TOKENS)
    made.step_done(1000, 1000 * token_s)
    return made


def test_as_long_as_nothing_is_known_storage_is_used() -> None:
    made = CostModel(TOKENS)
    made.load_done(10, 100.0)
    assert not made.skips_storage(0.0)
    assert not made.should_cancel(10, 0.0, 100.0, others_progress=False)
    assert made.lookup_timeout_s(10, 2.0) == 2.0


def test_slow_storage_is_left_out_and_tried_again() -> None:
    made = worth()
    made.load_done(10, 10.0)
    assert [made.skips_storage(now) for now in (0.0, 1.0, RETRY_S - 1)] == [True] * 3
    assert not made.skips_storage(RETRY_S)
    assert made.skips_storage(RETRY_S + 1)
    made.load_done(10, 0.1)
    assert not made.skips_storage(RETRY_S + 2)


def test_quick_storage_is_never_left_out() -> None:
    made = worth()
    for _ in range(100):
        made.load_done(10, 0.2)
        assert not made.skips_storage(0.0)


def test_a_load_is_given_up_when_it_cannot_win() -> None:
    made = worth()  # 100 blocks: 6.4 s
    assert not made.should_cancel(100, 0.0, 0.5, others_progress=False), "too early to tell"
    assert made.should_cancel(100, 0.0, 0.7, others_progress=False)
    assert not made.should_cancel(100, 0.0, 0.7, others_progress=True), "it may be the next in the queue"
    assert made.should_cancel(100, 0.05, 0.7, others_progress=True)
    assert not made.should_cancel(100, 0.5, 0.7, others_progress=True)
    assert made.should_cancel(100, 0.5, 6.5, others_progress=True)


def test_after_a_load_was_given_up_the_next_ones_are_left_out() -> None:
    """Also when prefill turns out somewhat slower than it was thought to be."""
    made = worth()
    made.load_cancelled(100, 0.0, 0.64)
    assert made.skips_storage(0.0)
    made.step_done(1000, 1.5)
    assert made.skips_storage(0.0)
    made.load_cancelled(100, 0.05, 64.0)
    assert made.skips_storage(0.0)


def test_short_waits_do_not_decide() -> None:
    """A single block always takes a few round trips, also on storage that is quick for many."""
    made = worth(token_s=0.00001)
    made.load_done(1000, 0.05)
    made.load_done(1, 0.05)
    assert not made.skips_storage(0.0)
    assert not made.should_cancel(1, 0.0, 0.09, others_progress=False)


def test_a_request_waits_for_answers_a_twelfth_of_what_computing_takes() -> None:
    made = worth()
    assert 0.53 < made.lookup_timeout_s(100, 2.0) < 0.54
    assert made.lookup_timeout_s(1000, 2.0) == 2.0
    assert made.lookup_timeout_s(1, 2.0) == 0.1


def test_decoding_says_nothing_of_prefill() -> None:
    made = CostModel(TOKENS)
    made.step_done(8, 1.0)
    assert made.compute_s(1) is None


def test_it_can_be_switched_off() -> None:
    made = CostModel(TOKENS, enabled=False)
    made.step_done(1000, 0.001)
    made.load_done(10, 100.0)
    assert not made.skips_storage(0.0)
    assert not made.should_cancel(10, 0.0, 100.0, others_progress=False)

# SPDX-License-Identifier: Apache-2.0
"""A user would lose: time, to storage that is slower than computing; or hits, to a storage that is not."""

from __future__ import annotations

from llmd_storage_connector.transfer.cost_model import RETRY_S, Worth

TOKENS = 64


def worth(token_s: float = 0.001) -> Worth:
    """An engine that computes a block in 64 ms."""
    made = Worth(TOKENS)
    made.computed(1000, 1000 * token_s)
    return made


def test_as_long_as_nothing_is_known_storage_is_used() -> None:
    made = Worth(TOKENS)
    made.loaded(10, 100.0)
    assert not made.skips(0.0)
    assert not made.gives_up(10, 0.0, 100.0, others_move=False)
    assert made.patience_s(10, 2.0) == 2.0


def test_slow_storage_is_left_out_and_tried_again() -> None:
    made = worth()
    made.loaded(10, 10.0)
    assert [made.skips(now) for now in (0.0, 1.0, RETRY_S - 1)] == [True] * 3
    assert not made.skips(RETRY_S)
    assert made.skips(RETRY_S + 1)
    made.loaded(10, 0.1)
    assert not made.skips(RETRY_S + 2)


def test_quick_storage_is_never_left_out() -> None:
    made = worth()
    for _ in range(100):
        made.loaded(10, 0.2)
        assert not made.skips(0.0)


def test_a_load_is_given_up_when_it_cannot_win() -> None:
    made = worth()  # 100 blocks: 6.4 s
    assert not made.gives_up(100, 0.0, 0.5, others_move=False), "too early to tell"
    assert made.gives_up(100, 0.0, 0.7, others_move=False)
    assert not made.gives_up(100, 0.0, 0.7, others_move=True), "it may be the next in the queue"
    assert made.gives_up(100, 0.05, 0.7, others_move=True)
    assert not made.gives_up(100, 0.5, 0.7, others_move=True)
    assert made.gives_up(100, 0.5, 6.5, others_move=True)


def test_after_a_load_was_given_up_the_next_ones_are_left_out() -> None:
    """Also when prefill turns out somewhat slower than it was thought to be."""
    made = worth()
    made.gave_up(100, 0.0, 0.64)
    assert made.skips(0.0)
    made.computed(1000, 1.5)
    assert made.skips(0.0)
    made.gave_up(100, 0.05, 64.0)
    assert made.skips(0.0)


def test_short_waits_do_not_decide() -> None:
    """A single block always takes a few round trips, also on storage that is quick for many."""
    made = worth(token_s=0.00001)
    made.loaded(1000, 0.05)
    made.loaded(1, 0.05)
    assert not made.skips(0.0)
    assert not made.gives_up(1, 0.0, 0.09, others_move=False)


def test_a_request_waits_for_answers_a_twelfth_of_what_computing_takes() -> None:
    made = worth()
    assert 0.53 < made.patience_s(100, 2.0) < 0.54
    assert made.patience_s(1000, 2.0) == 2.0
    assert made.patience_s(1, 2.0) == 0.1


def test_decoding_says_nothing_of_prefill() -> None:
    made = Worth(TOKENS)
    made.computed(8, 1.0)
    assert made.compute_s(1) is None


def test_it_can_be_switched_off() -> None:
    made = Worth(TOKENS, enabled=False)
    made.computed(1000, 0.001)
    made.loaded(10, 100.0)
    assert not made.skips(0.0)
    assert not made.gives_up(10, 0.0, 100.0, others_move=False)

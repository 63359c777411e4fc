# SPDX-License-Identifier: Apache-2.0
"""A user would lose: an engine that hammers a full claim, or one that never stores again after it was made larger."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmd_storage_connector.health.write_backoff import ADVICE, FIRST_PAUSE_S, LONGEST_PAUSE_S, WriteBackoff
from tests.unit.connector.conftest import Clock


class Writing:
    """A pause, and what it told."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.reasons: list[str] = []
        self.pause = WriteBackoff(self.clock)

    def refused(self, reason: str) -> None:
        if self.pause.refused(reason):
            self.reasons.append(reason)

    def admits(self, after_s: float = 0.0) -> bool:
        self.clock.now += after_s
        return self.pause.admits(self.clock.now)


@pytest.fixture
def writing() -> Writing:
    return Writing()


@pytest.mark.parametrize("reason", sorted(ADVICE))
def test_a_refused_write_pauses_writing_and_says_what_to_do(
    writing: Writing, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert writing.admits()
    writing.refused(reason)
    assert writing.pause.is_paused
    assert not writing.admits()
    assert writing.reasons == [reason]
    (line,) = caplog.messages
    assert reason.upper() in line
    assert "Reading goes on" in line
    assert "tried again every 5 to 15 s" in line


@pytest.mark.parametrize("reason", ["eio", "estale", "internal", "etimedout"])
def test_other_failures_are_not_a_reason_to_stop_writing(writing: Writing, reason: str) -> None:
    writing.refused(reason)
    assert not writing.pause.is_paused
    assert writing.admits()
    assert writing.reasons == []


def test_after_the_pause_one_job_tries_and_its_success_resumes(
    writing: Writing, caplog: pytest.LogCaptureFixture
) -> None:
    writing.refused("enospc")
    assert not writing.admits(FIRST_PAUSE_S - 0.01)
    assert [writing.admits(0.01), writing.admits(), writing.admits()] == [True, False, False]
    assert writing.pause.is_paused, "a trial is not yet a success"
    writing.pause.succeeded()
    assert not writing.pause.is_paused
    assert all(writing.admits() for _ in range(10))
    assert caplog.messages[1:] == ["KV cache blocks are stored again"]


def test_each_refused_trial_makes_the_pause_longer_up_to_the_longest(writing: Writing) -> None:
    writing.refused("enospc")
    for wait_s in (5.0, 10.0, 15.0, 15.0, 15.0):
        assert not writing.admits(wait_s - 0.01)
        assert writing.admits(0.01)
        writing.refused("enospc")
    assert writing.reasons == ["enospc"], "one pause is counted once"


def test_a_new_pause_begins_short_again(writing: Writing) -> None:
    writing.refused("enospc")
    for wait_s in (5.0, 10.0):
        assert writing.admits(wait_s)
        writing.refused("enospc")
    assert writing.admits(LONGEST_PAUSE_S)
    writing.pause.succeeded()
    writing.refused("erofs")
    assert not writing.admits(FIRST_PAUSE_S - 0.01)
    assert writing.admits(0.01)
    assert writing.reasons == ["enospc", "erofs"]


def test_a_trial_that_fails_in_another_way_is_over_too(writing: Writing) -> None:
    writing.refused("enospc")
    assert writing.admits(FIRST_PAUSE_S)
    writing.refused("eio")
    assert writing.pause.is_paused
    assert not writing.admits(FIRST_PAUSE_S)
    assert writing.admits(FIRST_PAUSE_S)


def test_a_trial_that_is_never_heard_of_again_does_not_stop_writing_for_ever(writing: Writing) -> None:
    writing.refused("enospc")
    assert writing.admits(FIRST_PAUSE_S)
    assert not writing.admits(FIRST_PAUSE_S - 0.01)
    assert writing.admits(0.01)
    writing.pause.succeeded()
    assert not writing.pause.is_paused


def test_blocks_that_were_on_their_way_neither_end_nor_lengthen_the_pause(writing: Writing) -> None:
    writing.refused("enospc")
    writing.clock.now += FIRST_PAUSE_S / 2
    writing.pause.succeeded()
    assert writing.pause.is_paused
    for _ in range(10):
        writing.refused("enospc")
    assert writing.admits(FIRST_PAUSE_S / 2)
    assert writing.reasons == ["enospc"]


def test_hours_of_a_full_claim_are_a_line_a_minute_at_most(writing: Writing, caplog: pytest.LogCaptureFixture) -> None:
    began = writing.clock.now
    writing.refused("enospc")
    while writing.clock.now < began + 3600:
        if writing.admits(1.0):
            writing.refused("enospc")
    assert 30 <= len(caplog.messages) <= 61


def test_of_many_threads_one_gets_the_trial(writing: Writing) -> None:
    writing.refused("enospc")
    now = writing.clock.now + FIRST_PAUSE_S
    admitted: list[bool] = []
    together = threading.Barrier(8)

    def ask() -> None:
        together.wait()
        admitted.append(writing.pause.admits(now))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert admitted.count(True) == 1


@given(
    st.lists(
        st.sampled_from(["enospc", "erofs", "eio", "succeeded", "admits"]) | st.floats(min_value=0, max_value=20),
        max_size=80,
    )
)
def test_whatever_happened_writing_is_tried_within_the_longest_pause_and_success_resumes(
    steps: list[str | float],
) -> None:
    writing = Writing()
    for step in steps:
        if isinstance(step, float):
            writing.clock.now += step
        elif step == "admits":
            writing.admits()
        elif step == "succeeded":
            writing.pause.succeeded()
        else:
            writing.refused(step)
    assert writing.admits(LONGEST_PAUSE_S)
    writing.pause.succeeded()
    assert not writing.pause.is_paused

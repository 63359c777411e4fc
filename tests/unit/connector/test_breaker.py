# SPDX-License-Identifier: Apache-2.0
"""A user would lose: an engine that waits again and again, or one that never uses healed storage again."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from llmd_storage_connector.health.breaker import TRIP_AFTER, Breaker
from tests.patience import CEILING_S, eventually

pytestmark = pytest.mark.timeout(30)


class Patient:
    """Storage as a trial sees it."""

    def __init__(self) -> None:
        self.well = threading.Event()
        self.trials = 0
        self.took_s = 0.0
        self.now = 0.0

    def trial(self) -> bool:
        self.trials += 1
        self.now += self.took_s
        return self.well.is_set()


@pytest.fixture
def patient() -> Patient:
    return Patient()


@pytest.fixture
def opened() -> list[str]:
    return []


@pytest.fixture
def breaker(patient: Patient, opened: list[str]) -> Iterator[Breaker]:
    made = Breaker(1.0, clock=lambda: patient.now, pause_s=0.001)

    def watch() -> None:
        while made.wait_open():
            opened.append("open")
            made.recover(patient.trial)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    yield made
    made.close()
    thread.join(CEILING_S)
    assert not thread.is_alive()


def trip(breaker: Breaker, operation: str = "lookup") -> None:
    for _ in range(TRIP_AFTER):
        breaker.missed(operation)


def until_closed(breaker: Breaker) -> None:
    for _ in range(5000):
        if not breaker.is_open:
            return
        threading.Event().wait(0.001)
    pytest.fail("it never closed")


def test_it_opens_after_misses_of_one_kind_without_an_answer_between(breaker: Breaker, opened: list[str]) -> None:
    for _ in range(5):
        breaker.missed("lookup")
        breaker.answered("lookup")
    assert not breaker.is_open
    breaker.missed("load")
    breaker.missed("store")
    assert not breaker.is_open
    breaker.missed("load")
    assert breaker.is_open
    eventually(lambda: opened == ["open"], "it to be noticed", every_s=0.001)


def test_answers_of_another_kind_do_not_hide_that_reads_hang(breaker: Breaker) -> None:
    for _ in range(TRIP_AFTER):
        breaker.answered("lookup")
        breaker.missed("load")
    assert breaker.is_open


def test_it_opens_once_however_many_misses_follow(breaker: Breaker, opened: list[str]) -> None:
    trip(breaker)
    trip(breaker)
    eventually(lambda: opened == ["open"], "it to be noticed", every_s=0.001)


def test_it_closes_by_itself_when_a_trial_is_answered(breaker: Breaker, patient: Patient, opened: list[str]) -> None:
    trip(breaker)
    while patient.trials < 3:
        threading.Event().wait(0.001)
    assert breaker.is_open
    patient.well.set()
    until_closed(breaker)
    breaker.missed("lookup")
    assert not breaker.is_open, "misses from before count again"
    breaker.missed("lookup")
    eventually(lambda: opened == ["open", "open"], "it to be noticed again", every_s=0.001)


def test_a_trial_that_is_answered_too_late_is_no_answer(breaker: Breaker, patient: Patient) -> None:
    patient.well.set()
    patient.took_s = 5.0
    trip(breaker)
    while patient.trials < 3:
        threading.Event().wait(0.001)
    assert breaker.is_open
    patient.took_s = 0.1
    until_closed(breaker)

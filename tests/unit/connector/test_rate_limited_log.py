# SPDX-License-Identifier: Apache-2.0
"""A user would lose: a readable log while storage is sick, or the knowledge of how often it failed."""

from __future__ import annotations

import logging
import threading

import pytest

from llmd_storage_connector.telemetry.rate_limited_log import EVERY_S, RateLimitedLog
from tests.unit.connector.conftest import Clock

logger = logging.getLogger("test.quiet")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def quiet(clock: Clock, caplog: pytest.LogCaptureFixture) -> RateLimitedLog:
    caplog.set_level(logging.DEBUG, logger.name)
    return RateLimitedLog(logger, clock=clock)


def test_a_minute_of_errors_is_one_line_and_the_next_line_counts_them(
    quiet: RateLimitedLog, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    said = [quiet.log(logging.WARNING, "eio", "reading failed: %s", "EIO") for _ in range(500)]
    assert said == [True] + 499 * [False]
    clock.now += EVERY_S - 0.01
    quiet.log(logging.WARNING, "eio", "reading failed: %s", "EIO")
    clock.now += 0.01
    quiet.log(logging.WARNING, "eio", "reading failed: %s", "EIO")
    assert caplog.messages == ["reading failed: EIO", "reading failed: EIO (500 more of these were held back)"]


def test_what_was_counted_once_is_not_counted_again(
    quiet: RateLimitedLog, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        quiet.log(logging.WARNING, "eio", "failed")
    for _ in range(2):
        clock.now += EVERY_S
        quiet.log(logging.WARNING, "eio", "failed")
    assert caplog.messages == ["failed", "failed (2 more of these were held back)", "failed"]


def test_one_error_does_not_hide_another(quiet: RateLimitedLog, caplog: pytest.LogCaptureFixture) -> None:
    quiet.log(logging.WARNING, "eio", "cannot read")
    quiet.log(logging.ERROR, "enospc", "cannot write")
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "cannot read"),
        ("ERROR", "cannot write"),
    ]


def test_many_threads_that_fail_at_once_write_one_line(
    quiet: RateLimitedLog, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        for _ in range(200):
            quiet.log(logging.WARNING, "eio", "failed")

    threads = [threading.Thread(target=fail) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    clock.now += EVERY_S
    quiet.log(logging.WARNING, "eio", "failed")
    assert caplog.messages == ["failed", "failed (1599 more of these were held back)"]

# SPDX-License-Identifier: Apache-2.0
"""What a user would lose on bad days in a row: right answers, in time. The same as `make soak`."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.soak.run import Soak

pytestmark = [pytest.mark.engine, pytest.mark.timeout(3600)]


def test_ten_minutes_of_faults_leave_every_answer_right_and_in_time(
    tmp_path: Path, figures: Callable[..., None]
) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    report = Soak(tmp_path, seed=seed, engines=2, seconds=600).run(print)
    figures(
        seed=seed,
        answers=report.answers,
        faults=sum(report.faults.values()),
        differed=report.differed,
        held_up=report.held_up,
        engines_ended=report.ended,
        blocks_loaded=report.loaded,
        slowest_answer_s=report.slowest_s,
    )
    assert report.passed, f"{report.line()}\n{report.wrong}"

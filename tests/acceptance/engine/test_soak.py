# SPDX-License-Identifier: Apache-2.0
"""What a user would lose on bad days in a row: right answers, in time. The same as `make soak`."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.soak.run import Soak
from tests.soak.servers import EVENTS

MINUTES = float(os.environ.get("LLMD_TEST_SOAK_MINUTES", "30"))
pytestmark = [pytest.mark.engine, pytest.mark.timeout(60 * MINUTES + 1800)]


def test_bad_days_leave_every_answer_right_and_in_time(tmp_path: Path, figures: Callable[..., None]) -> None:
    """Sick storage, adapters that are replaced in place, caches that are reset, weights that are reloaded."""
    seed = random.SystemRandom().randrange(1 << 32)
    report = Soak(tmp_path, seed=seed, engines=2, seconds=60 * MINUTES).run(print)
    figures(
        seed=seed,
        minutes=MINUTES,
        answers=report.answers.total(),
        faults=report.faults.total(),
        **{name.replace(" ", "_"): report.events[name] for name in EVENTS},
        differed=report.differed,
        held_up=report.held_up,
        engines_ended=report.ended,
        blocks_loaded=report.loaded,
        slowest_answer_s=report.slowest_s,
        slowest_reset_s=report.slowest_reset_s,
    )
    assert report.passed, f"{report.line()}\n{report.wrong}"
    assert set(report.events) == set(EVENTS), "the run was too short to have done all that"

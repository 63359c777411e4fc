# SPDX-License-Identifier: Apache-2.0
"""What a user would lose on bad days in a row: right answers, in time. The same as `make soak`, for a minute."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.run import Soak

pytestmark = pytest.mark.engine


def test_a_minute_of_faults_leaves_every_answer_right_and_in_time(tmp_path: Path) -> None:
    report = Soak(tmp_path, seed=4, engines=1, seconds=60).run(print)
    assert report.passed, f"{report.line()}\n{report.wrong}"

# SPDX-License-Identifier: Apache-2.0
"""A user would lose: hits, when an idle engine is taken for a slow one."""

from __future__ import annotations

from llmd_storage_connector.transfer.step_timer import StepTimer


def test_a_step_takes_from_its_begin_to_its_end() -> None:
    pace = StepTimer()
    pace.begin(100, 1.0)
    assert pace.end(3.0) == (100, 2.0)
    pace.begin(7, 1000.0)  # the engine was idle
    assert pace.end(1001.0) == (7, 1.0)


def test_of_steps_that_overlap_each_counts_for_what_it_adds() -> None:
    pace = StepTimer()
    pace.begin(100, 0.0)
    pace.begin(200, 0.1)
    assert pace.end(2.0) == (100, 2.0)
    assert pace.end(5.0) == (200, 3.0)


def test_lost_ends_do_no_lasting_harm() -> None:
    pace = StepTimer()
    assert pace.end(1.0) is None
    for step in range(20):
        pace.begin(step, float(step))
    while pace.end(30.0) is not None:
        pass
    pace.begin(5, 40.0)
    assert pace.end(41.0) == (5, 1.0)

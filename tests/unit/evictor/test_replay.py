# SPDX-License-Identifier: Apache-2.0
"""A user would lose: hits that the same space would give under plain least-recently-used."""

from __future__ import annotations

import pytest

from tests.unit.evictor.replay import evictor, ideal, trace


@pytest.mark.parametrize("rate_s", [0.2, 2.0], ids=["turning over in hours", "turning over in minutes"])
@pytest.mark.parametrize("blocks", [1000, 2500])
def test_hits_stay_within_five_points_of_ideal_lru(rate_s: float, blocks: int) -> None:
    requests = trace(seed=11, count=1500, rate_s=rate_s)
    best, own = ideal(requests, blocks), evictor(requests, blocks)
    assert 0.3 < best < 0.95, "the trace tells nothing"
    assert own > best - 0.05


def test_the_advice_on_refreshing_earns_hits() -> None:
    """Where blocks live for minutes, refreshing them once an hour would make it first in, first out."""
    requests = trace(seed=11, count=2500, rate_s=2.0)
    assert evictor(requests, 1000) > evictor(requests, 1000, touch_s=3600) + 0.01

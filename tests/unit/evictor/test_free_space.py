# SPDX-License-Identifier: Apache-2.0
"""A user would lose: the whole cache, where removing frees nothing; or a disk that is full, where it does."""

from __future__ import annotations

import pytest

from llmd_storage_evictor.core.free_space import FreeSpace


def test_space_that_shows_late_is_counted_once_and_not_for_ever() -> None:
    free = FreeSpace()
    free.add(0, 100, 500, 50, for_floor=False)
    assert free.estimate(1, 100, 450) == 150
    assert free.estimate(2, 150, 450) == 150, "it shows now: not twice"
    free.add(3, 100, 450, 10, for_floor=False)
    assert free.estimate(4, 100, 440) == 160
    assert free.estimate(30, 100, 440) == 100


class World:
    """A cache that is written to at `rate`, and whose removals free `follows` of what they remove."""

    def __init__(self, follows: float, rate: int = 0) -> None:
        self.space, self.follows, self.rate = FreeSpace(), follows, rate
        self.now, self.free, self.held, self.removed = 0.0, 100.0, 10_000, 0

    def live(self, seconds: float, floor: int = 200) -> None:
        until = self.now + seconds
        while self.now < until:
            self.held += self.rate
            self.free -= self.rate
            seen = self.space.estimate(self.now, int(self.free), self.held)
            need = 0 if seen is None else min(self.held, floor - seen)
            if need > 0:
                self.space.add(self.now, int(self.free), self.held, need, for_floor=True)
                self.held -= need
                self.removed += need
                self.free += need * self.follows
            self.now += 1.0


@pytest.mark.parametrize("rate", [0, 20])
def test_removing_without_effect_ends_and_is_tried_less_and_less_often(rate: int) -> None:
    world = World(follows=0.0, rate=rate)
    world.live(1800)
    assert world.space.given_up
    removed = world.removed
    assert removed == world.space.missed
    world.live(1800)
    assert world.removed == removed, "not once more within the hour"
    if not rate:
        assert removed == 300
        world.live(24 * 3600)
        assert world.removed <= 800


@pytest.mark.parametrize(("follows", "rate"), [(1.0, 0), (1.0, 20), (0.8, 5)])
def test_where_removing_helps_the_floor_is_held_while_the_cache_is_written_to(follows: float, rate: int) -> None:
    world = World(follows, rate)
    world.live(5000)
    assert not world.space.given_up and world.free > 200 - 12 * max(rate, 2)


def test_room_that_comes_later_ends_it_at_once() -> None:
    world = World(follows=0.0)
    world.live(1800)
    world.free += 160
    world.live(1)
    assert not world.space.given_up

# SPDX-License-Identifier: Apache-2.0
"""A user would lose: time (the same question asked of storage again), or fresh blocks (an old "no")."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from llmd_storage_connector.blocks.result import BlockResult
from llmd_storage_connector.lookup.cache import ABSENT_S, PRESENT_S, CachedLookup, LookupCache
from llmd_storage_connector.lookup.pool import LookupPool
from llmd_storage_connector.lookup.service import LookupService, LookupStatus
from llmd_storage_connector.telemetry.metrics import Counters
from tests.patience import CEILING_S
from tests.unit.connector.conftest import Clock, key


class Scene:
    """Lookups over a set of present keys; answers come when `answer_all` says so."""

    def __init__(self, needs_full_prefix: bool = False, threads: int = 2) -> None:
        self.clock, self.present = Clock(), set[bytes]()
        self.asked: list[bytes] = []
        self.late: list[float] = []
        self.sick: list[str] = []
        self.skips = False
        self.told: list[str] = []
        self.timeout_s = 1.0
        self.reason = "absent"
        self.cache = LookupCache()
        self.pool = LookupPool(
            self,
            self.cache,
            self,
            deadline_s=1.0,
            threads=threads,
            needs_full_prefix=needs_full_prefix,
            clock=self.clock,
        )
        self.lookups = LookupService(
            self.pool, self.cache, self, self, Counters(), deadline_s=1.0, adaptive=True, clock=self.clock
        )

    # What the lookups see of the storage's health, and of the cost.
    def missed(self, operation: str) -> None:
        self.late.append(self.clock())

    def failed(self, operation: str, reason: str) -> None:
        self.sick.append(reason)

    def answered(self, operation: str) -> None: ...

    def skips_storage(self, now: float) -> bool:
        return self.skips

    def lookup_timeout_s(self, blocks: int, longest_s: float) -> float:
        return self.timeout_s

    def lookup_done(self) -> None:
        self.told.append("done")

    def lookup_late(self, now: float) -> None:
        self.told.append("late")

    def contains(self, key: bytes) -> BlockResult:
        self.asked.append(key)
        return BlockResult(True) if key in self.present else BlockResult(False, self.reason)

    def answer_all(self) -> None:
        self.lookups.flush()
        while self.pool._queue:
            self.pool._do(self.pool._queue.popleft())


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_question_goes_out_once_for_all_requests(scene: Scene) -> None:
    scene.present.add(key(1))
    for request in ("a", "b", "a"):
        assert scene.lookups.lookup(request, key(1)) is LookupStatus.RETRY
    scene.answer_all()
    assert scene.asked == [key(1)]
    assert scene.lookups.lookup("a", key(1)) is scene.lookups.lookup("c", key(1)) is LookupStatus.HIT


def test_no_is_believed_for_a_short_time_and_final_for_the_request(scene: Scene) -> None:
    scene.lookups.lookup("a", key(1))
    scene.answer_all()
    assert scene.lookups.lookup("a", key(1)) is LookupStatus.MISS
    assert scene.lookups.lookup("b", key(1)) is LookupStatus.MISS
    scene.clock.now += ABSENT_S
    assert scene.lookups.lookup("a", key(1)) is LookupStatus.MISS
    assert scene.lookups.lookup("c", key(1)) is LookupStatus.RETRY
    scene.lookups.forget("a")
    assert scene.lookups.lookup("a", key(1)) is LookupStatus.RETRY


def test_yes_is_believed_longer(scene: Scene) -> None:
    scene.cache.put(key(1), CachedLookup(True, "", scene.clock.now))
    scene.clock.now += PRESENT_S - 1
    assert scene.lookups.lookup("a", key(1)) is LookupStatus.HIT
    scene.clock.now += 1
    assert scene.lookups.lookup("a", key(1)) is LookupStatus.RETRY


def test_an_answer_counts_for_who_waited_however_late_it_is_seen(scene: Scene) -> None:
    """A step of the engine may take longer than a "no" is believed."""
    scene.lookups.lookup("a", key(1))
    scene.answer_all()
    scene.clock.now += 10 * ABSENT_S
    assert scene.lookups.lookup("a", key(1)) is LookupStatus.MISS
    assert scene.asked == [key(1)]


def test_an_answer_that_never_comes_is_asked_for_again_by_later_requests(scene: Scene) -> None:
    scene.lookups.lookup("a", key(1))
    scene.lookups.flush()
    scene.pool._queue.clear()  # its thread hangs
    scene.clock.now += 1.5
    assert scene.lookups.lookup("a", key(1)) is LookupStatus.MISS
    assert scene.lookups.lookup("b", key(1)) is LookupStatus.RETRY
    scene.answer_all()
    assert scene.asked == [key(1)]


def test_a_request_is_asked_about_again_when_its_search_is_over() -> None:
    """Forty waiting prompts of 100 000 tokens took 1.7 s of every step of the engine."""
    scene = Scene(needs_full_prefix=True, threads=4)
    scene.present = {key(number) for number in range(60)}
    assert not scene.lookups.is_waiting("a"), "not asked yet"
    assert all(scene.lookups.lookup("a", key(number)) is LookupStatus.RETRY for number in range(100))
    assert not scene.lookups.is_waiting("a"), "not sent out yet"
    scene.lookups.flush()
    assert scene.lookups.is_waiting("a")
    scene.answer_all()
    assert not scene.lookups.is_waiting("a")
    found = [scene.lookups.lookup("a", key(number)) for number in range(61)]
    assert found == [LookupStatus.HIT] * 60 + [LookupStatus.MISS]


def test_a_search_that_hangs_is_waited_for_until_the_deadline() -> None:
    scene = Scene(needs_full_prefix=True, threads=4)
    for number in range(100):
        scene.lookups.lookup("a", key(number))
    scene.lookups.flush()
    scene.clock.now += 0.9
    assert scene.lookups.is_waiting("a")
    scene.clock.now += 0.2
    assert not scene.lookups.is_waiting("a")
    assert scene.lookups.lookup("a", key(0)) is LookupStatus.MISS
    scene.lookups.forget("a")
    assert not scene.lookups.is_waiting("a")


def test_the_deadline_is_the_requests_not_the_blocks(scene: Scene) -> None:
    scene.lookups.lookup("a", key(1))
    scene.clock.now += 0.9
    scene.lookups.lookup("a", key(2))
    scene.clock.now += 0.2
    assert scene.lookups.lookup("a", key(2)) is LookupStatus.MISS
    assert scene.lookups.lookup("a", key(1)) is LookupStatus.MISS


def test_a_short_patience_is_no_sign_of_sick_storage(scene: Scene) -> None:
    """Else one slow answer to a cheap prompt would switch the cache off for all."""
    scene.timeout_s = 0.1
    scene.lookups.lookup("a", key(1))
    scene.lookups.flush()
    scene.clock.now += 0.2
    assert scene.lookups.lookup("a", key(1)) is LookupStatus.MISS
    scene.lookups.flush()
    assert scene.late == []


def test_a_question_that_storage_leaves_unanswered_is_noticed_though_nobody_waits(scene: Scene) -> None:
    scene.lookups.lookup("a", key(1))
    scene.lookups.flush()
    scene.lookups.forget("a")
    scene.clock.now += 1.1
    scene.lookups.flush()
    scene.lookups.flush()
    assert len(scene.late) == 1


def test_where_loading_does_not_pay_nothing_is_asked(scene: Scene) -> None:
    scene.present.add(key(1))
    scene.skips = True
    assert scene.lookups.lookup("a", key(1)) is LookupStatus.MISS
    scene.skips = False
    assert scene.lookups.lookup("a", key(1)) is LookupStatus.MISS, "one request is told one thing"
    assert scene.lookups.lookup("b", key(1)) is LookupStatus.RETRY
    scene.answer_all()
    assert scene.asked == [key(1)]


def test_an_error_that_is_not_about_the_block_is_passed_on(scene: Scene) -> None:
    scene.reason = "estale"
    scene.lookups.lookup("a", key(1))
    scene.answer_all()
    assert scene.sick == ["estale"]
    assert scene.lookups.lookup("a", key(1)) is LookupStatus.MISS


def chain_key(number: int) -> bytes:
    return number.to_bytes(32, "big") + bytes(4)


@pytest.mark.parametrize("stored", [0, 1, 63, 64, 65, 777, 999, 1000])
def test_the_end_of_a_prefix_is_found_with_few_questions(stored: int) -> None:
    scene = Scene(needs_full_prefix=True, threads=64)
    scene.present = {chain_key(number) for number in range(stored)}
    keys = [chain_key(number) for number in range(1000)]
    for asked in keys:
        assert scene.lookups.lookup("a", asked) is LookupStatus.RETRY
    scene.answer_all()
    answers = [scene.lookups.lookup("a", asked) for asked in keys]
    assert answers == [LookupStatus.HIT] * stored + [LookupStatus.MISS] * (1000 - stored)
    assert len(scene.asked) <= 3 * 64


def test_what_was_only_inferred_is_marked_so(scene: Scene) -> None:
    """A block that is missing in the middle would otherwise never be stored again."""
    scene = Scene(needs_full_prefix=True, threads=2)
    scene.present = {chain_key(number) for number in range(100)}
    for number in range(100):
        scene.lookups.lookup("a", chain_key(number))
    scene.answer_all()
    seen = {number for number in range(100) if not scene.cache.get(chain_key(number)).inferred}
    assert {chain_key(number) for number in seen} == set(scene.asked)


def test_a_hole_that_was_seen_ends_the_next_hit_before_anything_is_promised() -> None:
    """Else each prompt with that prefix would wait for a load that cannot end well."""
    scene = Scene(needs_full_prefix=True, threads=64)
    keys = [chain_key(number) for number in range(1000)]
    scene.present = set(keys) - {keys[333]}
    scene.cache.put(keys[333], CachedLookup(False, "absent", scene.clock.now))  # a load, or the evictor, said so
    scene.clock.now += 2 * ABSENT_S
    for asked in keys:
        assert scene.lookups.lookup("a", asked) is LookupStatus.RETRY
    scene.answer_all()
    answers = [scene.lookups.lookup("a", asked) for asked in keys]
    assert answers == [LookupStatus.HIT] * 333 + [LookupStatus.MISS] * 667
    assert len(scene.asked) <= 3 * 64


def test_a_hole_that_was_filled_is_no_hole() -> None:
    scene = Scene(needs_full_prefix=True, threads=64)
    keys = [chain_key(number) for number in range(1000)]
    scene.present = set(keys)
    scene.cache.put(keys[333], CachedLookup(False, "absent", scene.clock.now))
    scene.clock.now += 2 * ABSENT_S
    for asked in keys:
        scene.lookups.lookup("a", asked)
    scene.answer_all()
    assert all(scene.lookups.lookup("a", asked) is LookupStatus.HIT for asked in keys)
    assert len(scene.asked) <= 64 + 2


def test_questions_nobody_waits_for_are_thrown_away(scene: Scene) -> None:
    for number in range(50):
        scene.lookups.lookup("a", key(number))
    scene.lookups.flush()
    scene.clock.now += 2
    scene.lookups.lookup("b", key(99))
    scene.lookups.flush()
    assert [task.keys for task in scene.pool._queue] == [[key(99)]]


def test_the_cache_is_bounded() -> None:
    cache = LookupCache(maximum=3)
    for number in range(5):
        cache.put(key(number), CachedLookup(True, "", 0.0))
    assert [cache.get(key(number)) is not None for number in range(5)] == [False, False, True, True, True]


@pytest.fixture
def running(scene: Scene) -> Iterator[Scene]:
    scene.pool.start()
    yield scene
    scene.pool.close()


def test_threads_answer_and_survive_a_bug(running: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    real = running.cache.put

    def put(asked: bytes, verdict: CachedLookup) -> None:
        real(asked, verdict)
        if asked == key(2):
            answered.set()

    monkeypatch.setattr(running.cache, "put", put)
    monkeypatch.setattr(running, "contains", lambda asked: 1 / 0 if asked == key(1) else BlockResult(True))
    running.lookups.lookup("a", key(1))
    running.lookups.flush()
    running.lookups.lookup("a", key(2))
    running.lookups.flush()
    assert answered.wait(CEILING_S)
    assert running.lookups.lookup("a", key(2)) is LookupStatus.HIT


def test_the_cost_hears_whether_an_answer_came_in_time(scene: Scene) -> None:
    scene.timeout_s = 0.25
    scene.lookups.lookup("a", key(1))
    scene.answer_all()
    scene.lookups.lookup("a", key(1))
    assert scene.told == ["done"]
    scene.lookups.lookup("b", key(2))
    scene.clock.now += 0.25
    assert scene.lookups.lookup("b", key(2)) is LookupStatus.MISS
    assert scene.told == ["done", "late"]


def test_what_was_not_waited_for_is_not_late(scene: Scene) -> None:
    """A request that is over its time asks for a block for the first time: storage had no time to answer."""
    scene.timeout_s = 0.25
    scene.lookups.lookup("a", key(1))
    scene.answer_all()
    scene.lookups.lookup("a", key(1))
    scene.clock.now += 10
    assert scene.lookups.lookup("a", key(2)) is LookupStatus.MISS
    assert scene.told == ["done"]


def test_storage_that_does_not_answer_at_all_is_the_breakers_matter(scene: Scene) -> None:
    scene.lookups.lookup("a", key(1))
    scene.lookups.flush()
    scene.clock.now += 1.0
    assert scene.lookups.lookup("a", key(1)) is LookupStatus.MISS
    scene.lookups.flush()
    assert scene.told == [] and scene.late


def test_the_patience_of_one_request_is_no_answer_in_time_for_the_others(scene: Scene) -> None:
    scene.timeout_s = 0.25
    scene.lookups.be_patient("proof")
    scene.lookups.lookup("proof", key(1))
    scene.clock.now += 0.5
    scene.answer_all()
    assert scene.lookups.lookup("proof", key(1)) is LookupStatus.MISS
    assert scene.told == []

# SPDX-License-Identifier: Apache-2.0
"""A user would lose: twice what had to go, if two evictors removed at the same time; or a full disk, if none did."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llmd_storage_evictor.cache.directory import CacheDirectory
from llmd_storage_evictor.leader.file_lease import LEASE_DURATION_S, RENEW_DEADLINE_S, FileLease


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def clock(self) -> float:
        return self.now


@pytest.fixture
def stand(tmp_path: Path) -> Callable[[Time], FileLease]:
    def make(time: Time) -> FileLease:
        directory = CacheDirectory(tmp_path)
        directory.open()
        return FileLease(directory, "someone", time.clock)

    return make


Stand = Callable[[Time], FileLease]


def test_the_first_leads_and_the_second_waits_however_long(stand: Stand) -> None:
    time = Time()
    first, second = stand(time), stand(time)
    assert first.try_acquire_or_renew(True)
    for _ in range(30):
        time.now += 1.5
        assert first.try_acquire_or_renew(True) and not second.try_acquire_or_renew(True)


def test_a_killed_leader_is_followed_within_seconds(stand: Stand) -> None:
    time = Time()
    first, second = stand(time), stand(time)
    first.try_acquire_or_renew(True)
    second.try_acquire_or_renew(False)  # watches before it has the Lease
    waited = 0.0
    while not second.try_acquire_or_renew(True):
        waited += 1.5
        time.now += 1.5
    assert LEASE_DURATION_S <= waited <= 9 and second.generation == 2


def test_a_pod_that_was_started_again_follows_itself_at_once_and_nobody_else(tmp_path: Path) -> None:
    time, directory = Time(), CacheDirectory(tmp_path)
    directory.open()

    def pod(name: str) -> FileLease:
        return FileLease(directory, name, time.clock, unique_holder=True)

    assert pod("a_1").try_acquire_or_renew(True), "killed after this"
    assert not pod("b_1").try_acquire_or_renew(True)
    again = pod("a_1")
    assert again.try_acquire_or_renew(True) and again.generation == 2
    # Whoever is killed between taking over and saying so leaves the name of the one before.
    os.rename(tmp_path / ".evictor/leader-2", tmp_path / ".evictor/leader-3")
    assert not pod("a_1").try_acquire_or_renew(True)
    for content in ("", "{", "[]", '{"holder": "a_1"}'):
        (tmp_path / ".evictor/leader-3").write_text(content)
        assert not pod("a_1").try_acquire_or_renew(True)


def test_a_leader_that_hung_may_not_remove_before_anyone_else_may_and_stands_again(stand: Stand) -> None:
    """Storage hung for the leader, and came back after another had taken over."""
    time, other = Time(), Time()
    first, second = stand(time), stand(other)
    first.try_acquire_or_renew(True)
    second.try_acquire_or_renew(True)
    time.now += RENEW_DEADLINE_S + 0.1  # no refresh came through
    assert not first.held()
    other.now += LEASE_DURATION_S + 1.5
    assert second.try_acquire_or_renew(True)
    assert not first.try_acquire_or_renew(True) and not first.held() and first.generation == 0
    time.now += 1
    other.now += 1
    assert second.try_acquire_or_renew(True), "a release by the former leader must not reach the new one"
    assert not first.try_acquire_or_renew(True)


def test_a_refresh_that_took_too_long_is_not_believed(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time()
    first = stand(time)
    first.try_acquire_or_renew(True)
    pwrite = os.pwrite

    def hanging(*args: Any) -> int:
        time.now += RENEW_DEADLINE_S + 1
        return pwrite(*args)

    monkeypatch.setattr("llmd_storage_evictor.leader.file_lease.os.pwrite", hanging)
    assert not first.try_acquire_or_renew(True) and not first.held()


def test_of_two_that_try_at_once_one_leads(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time()
    first, second, third = stand(time), stand(time), stand(time)
    first.try_acquire_or_renew(True)
    second.try_acquire_or_renew(True), third.try_acquire_or_renew(True)
    time.now += LEASE_DURATION_S + 1
    rename, inside = os.rename, []

    def racing(*args: object, **named: object) -> None:
        if not inside:
            inside.append(True)
            assert third.try_acquire_or_renew(True)  # in the moment between second's look and its rename
        rename(*args, **named)

    monkeypatch.setattr("llmd_storage_evictor.leader.file_lease.os.rename", racing)
    assert not second.try_acquire_or_renew(True)
    assert third.try_acquire_or_renew(True) and not second.try_acquire_or_renew(True)


def test_who_ends_in_order_is_followed_at_once(stand: Stand) -> None:
    time = Time()
    first, second = stand(time), stand(time)
    first.try_acquire_or_renew(True)
    second.try_acquire_or_renew(True)
    first.release()
    assert second.try_acquire_or_renew(True)


def test_who_lost_the_lease_lets_go(stand: Stand) -> None:
    time = Time()
    first, second = stand(time), stand(time)
    assert first.try_acquire_or_renew(True)
    assert not first.try_acquire_or_renew(False)
    assert second.try_acquire_or_renew(True)


def test_a_full_disk_keeps_nobody_from_taking_over(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time()
    first, second = stand(time), stand(time)
    first.try_acquire_or_renew(True)
    second.try_acquire_or_renew(True)
    time.now += LEASE_DURATION_S + 1

    def full(*args: object, **named: object) -> int:
        raise OSError(28, "No space left on device")

    real = os.open
    monkeypatch.setattr(
        "llmd_storage_evictor.leader.file_lease.os.open",
        lambda *a, **n: full() if a[1] & os.O_WRONLY else real(*a, **n),
    )
    assert second.try_acquire_or_renew(True)


def test_a_disk_that_was_full_before_anyone_came_is_relieved_and_then_locked(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    time = Time()
    first, second = stand(time), stand(time)
    with monkeypatch.context() as full:

        def refused(*args: object, **named: object) -> None:
            raise OSError(28, "No space left on device")

        full.setattr("llmd_storage_evictor.cache.directory.os.mkdir", refused)
        with pytest.raises(OSError, match="No space"):
            second.try_acquire_or_renew(False)
        assert first.try_acquire_or_renew(True) and first.generation == 0
        time.now += 1.5
        assert first.try_acquire_or_renew(True)
    time.now += 1.5
    assert first.try_acquire_or_renew(True) and first.generation == 1
    assert not second.try_acquire_or_renew(True)


def test_attributes_that_are_cached_for_ten_seconds_do_not_move_the_lease(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on NFS and FUSE: stat shows an old mtime, while what is opened and read is fresh."""
    time = Time()
    first, second = stand(time), stand(time)
    assert first.try_acquire_or_renew(True)
    stat = os.stat

    def cached(path: Any, **named: Any) -> Any:
        return SimpleNamespace(st_mtime_ns=5) if str(path).startswith("leader-") else stat(path, **named)

    monkeypatch.setattr("llmd_storage_evictor.leader.file_lease.os.stat", cached)
    for _ in range(200):
        time.now += 1.5
        assert first.try_acquire_or_renew(True) and not second.try_acquire_or_renew(True)


def test_another_user_of_the_same_group_can_follow(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a file's owner may set its times to a value. Whoever may write the cache may keep it."""
    time = Time()
    first, second = stand(time), stand(time)
    first.try_acquire_or_renew(True)
    utime = os.utime

    def not_the_owner(*args: Any, **named: Any) -> None:
        if named.get("ns") is not None:
            raise PermissionError(1, "Operation not permitted")
        utime(*args, **named)

    monkeypatch.setattr("llmd_storage_evictor.leader.file_lease.os.utime", not_the_owner)
    second.try_acquire_or_renew(True)
    time.now += LEASE_DURATION_S + 1
    assert second.try_acquire_or_renew(True)
    time.now += 1.5
    assert second.try_acquire_or_renew(True)
    second.release()
    assert first.try_acquire_or_renew(True) or first.try_acquire_or_renew(True)


def test_a_standby_knows_whether_anyone_leads(stand: Stand) -> None:
    time = Time()
    first, second = stand(time), stand(time)
    assert not second.try_acquire_or_renew(False) and not second.someone_leads()
    first.try_acquire_or_renew(True)
    second.try_acquire_or_renew(False)
    time.now += 1.5
    assert first.try_acquire_or_renew(True)
    second.try_acquire_or_renew(False)
    assert first.someone_leads() and second.someone_leads()
    time.now += LEASE_DURATION_S + 1
    second.try_acquire_or_renew(False)
    assert not second.someone_leads()

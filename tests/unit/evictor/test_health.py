# SPDX-License-Identifier: Apache-2.0
"""A user would lose: the disk, while /healthz says ok. Health is: the budget holds, or it says why not."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from llmd_storage_evictor.cache.directory import CacheDirectory
from llmd_storage_evictor.controller.liveness import Liveness
from llmd_storage_evictor.controller.metrics import Metrics
from llmd_storage_evictor.controller.troubles import Troubles
from llmd_storage_evictor.leader.file_lease import FileLease
from llmd_storage_evictor.leader.lease import NoElection
from llmd_storage_evictor.service.lease_keeper import LeaseKeeper
from llmd_storage_evictor.service.server import serve
from tests.unit.evictor.support import Bench, Namespace, config, evictor, make_unreadable, namespace

STALL_S = 60.0


@pytest.fixture
def cache(tmp_path: Path) -> Namespace:
    made = namespace(tmp_path / "blocks")
    for number in range(12):
        made.store(number, age_s=1000 - number)
    return made


def lasting(bench: Bench, seconds: float = 2 * STALL_S) -> str:
    for _ in range(5):
        bench.round()
        bench.ticks[0] += seconds / 4
    return bench.troubles.lasting(STALL_S)


class Elsewhere(NoElection):
    """The Kubernetes Lease is another's."""

    def leads(self) -> bool:
        return False


class Keeper:
    """The file-lease thread's steps, by a clock that stands still."""

    def __init__(self, root: Path, election: NoElection) -> None:
        self.now = 100.0
        self.troubles = Troubles(lambda: self.now)
        directory = CacheDirectory(root)
        self.lease = FileLease(directory, "me", lambda: self.now)
        self.keeper = LeaseKeeper(
            directory, self.lease, election, Liveness(STALL_S), self.troubles, config=config(root), release="me"
        )

    def live(self, seconds: float) -> str:
        for _ in range(int(seconds / 1.5)):
            self.keeper.step()
            self.now += 1.5
        return self.troubles.lasting(STALL_S)


def test_who_may_not_write_never_leads_and_says_so_with_what_to_set(
    cache: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another unix user than the model servers'."""

    def refused(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied", ".evictor")

    one = Keeper(cache.root, NoElection())
    with monkeypatch.context() as another_user:
        another_user.setattr("llmd_storage_evictor.cache.directory.os.mkdir", refused)
        said = one.live(90)
        assert "nobody keeps the cache within its budget" in said
        assert f"user {os.geteuid()}" in said and "global.podSecurity" in said
    assert one.live(5) == "" and one.lease.held(), "as soon as it may, it leads and is well"


def test_a_standby_is_well_as_long_as_another_leads(cache: Namespace) -> None:
    leader, standby = Keeper(cache.root, NoElection()), Keeper(cache.root, Elsewhere())
    for _ in range(60):
        assert leader.live(1.5) == "" and standby.live(1.5) == ""
    assert "nobody keeps the cache within its budget" in standby.live(90), "the leader is gone, and no other came"


def test_before_the_first_engine_came_there_is_nothing_to_keep(tmp_path: Path) -> None:
    assert Keeper(tmp_path / "blocks", NoElection()).live(90) == ""


def test_over_budget_for_pins_it_says_so(cache: Namespace) -> None:
    with evictor(config(cache.root, namespaces=[{"namespace": cache.name, "pinned": True}])) as bench:
        said = lasting(bench)
        assert "over its budget" in said and "pinned" in said
        for number in range(6):
            cache.file(number).unlink()
        assert lasting(bench) == ""


def test_over_budget_since_nothing_can_be_removed_it_says_why(
    cache: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("llmd_storage_evictor.cache.remover.os.unlink", refused)
    with evictor(config(cache.root)) as bench:
        said = lasting(bench)
    assert "over its budget" in said and "Permission denied" in said and "global.podSecurity" in said


def test_what_cannot_be_read_is_not_taken_for_empty(cache: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    make_unreadable(monkeypatch, "05", PermissionError(13, "Permission denied"))
    with evictor(config(cache.root)) as bench:
        said = lasting(bench)
    assert "1 folders cannot be read" in said and f"{cache.name}/05" in said


def test_within_its_budget_and_while_it_removes_it_is_well(cache: Namespace) -> None:
    with evictor(config(cache.root)) as bench:
        assert lasting(bench) == ""


def test_a_budget_that_does_not_hold_is_no_reason_to_start_again() -> None:
    """Kubernetes restarts what fails /livez; a restart makes no room. It shows what fails /healthz as not ready."""

    def get(path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}{path}", timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    server = serve(0, Metrics(), lambda: "", lambda: "nobody leads")
    try:
        assert get("/livez") == (200, "ok\n")
        assert get("/healthz") == (503, "nobody leads\n")
    finally:
        server.shutdown()
        server.server_close()

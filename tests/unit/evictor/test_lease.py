# SPDX-License-Identifier: Apache-2.0
"""A user would lose: a cache without a keeper, or with two, if a silent API server were taken for a yes."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import kubernetes
import pytest

from llmd_storage_evictor.config import parse
from llmd_storage_evictor.leader import lease
from llmd_storage_evictor.leader.lease import RENEW_DEADLINE_S, LeaseElection
from llmd_storage_evictor.leader.release_check import ReleaseCheck


class Lock:
    """The client's lock, answering as told."""

    def __init__(self) -> None:
        self.answer = True

    def get(self, *arguments: object, **named: object) -> bool:
        return self.answer

    def create(self, *arguments: object, **named: object) -> bool:
        return self.answer

    def update(self, *arguments: object, **named: object) -> bool:
        return self.answer


def test_leading_lasts_as_long_as_the_last_renewal_is_good_for() -> None:
    now = [100.0]
    election = LeaseElection("name", "namespace", "me", clock=lambda: now[0])
    lock = lease._instrumented(Lock(), election._record_renewal, threading.Event(), lambda: now[0])
    assert not election.leads()
    lock.create()
    assert election.leads()
    now[0] += RENEW_DEADLINE_S - 1
    lock.update()
    now[0] += RENEW_DEADLINE_S - 1
    assert election.leads()
    lock.answer = False
    lock.update()
    now[0] += 1.1
    assert not election.leads(), "a renewal that failed is none"


def test_a_renewal_counts_from_when_it_was_asked_for() -> None:
    """Its answer may come late; the others count from when the API server had it."""
    now = [0.0]

    class Slow(Lock):
        def update(self, *arguments: object, **named: object) -> bool:
            now[0] += RENEW_DEADLINE_S + 1
            return True

    election = LeaseElection("name", "namespace", "me", clock=lambda: now[0])
    lease._instrumented(Slow(), election._record_renewal, threading.Event(), lambda: now[0]).update()
    assert not election.leads()


def test_every_call_has_a_time_limit() -> None:
    class Api:
        def read_namespaced_lease(self, *arguments: object, **named: object) -> object:
            return named

    assert lease._TimedApi(Api()).read_namespaced_lease("a", "b") == {"_request_timeout": lease._CALL_TIMEOUT_S}


def test_a_lease_goes_with_its_owner_and_is_not_made_without() -> None:
    """Else it would stay after the release, or come back while the last evictor ends."""
    made: list[Any] = []

    class Api:
        def create_namespaced_lease(self, namespace: str, body: Any) -> Any:
            made.append(body)

    class Core:
        uid = "u-1"

        def read_namespaced_config_map(self, name: str, namespace: str) -> Any:
            if not self.uid:
                raise LookupError
            return SimpleNamespace(metadata=SimpleNamespace(uid=self.uid))

    core = Core()
    api = lease._OwnedApi(Api(), core, "kv-evictor", "kv-lease")
    # As the client's own lock makes it, and as it goes to the API server.
    body = kubernetes.client.V1Lease(metadata={"name": "kv-lease"}, spec=kubernetes.client.V1LeaseSpec())
    api.create_namespaced_lease("here", body)
    sent = kubernetes.client.ApiClient().sanitize_for_serialization(made[0])["metadata"]
    (owner,) = sent["ownerReferences"]
    assert sent["name"] == "kv-lease"
    assert owner == {"apiVersion": "v1", "kind": "ConfigMap", "name": "kv-evictor", "uid": "u-1"}
    core.uid = ""
    with pytest.raises(LookupError):
        api.create_namespaced_lease("here", body)
    assert len(made) == 1


def test_the_others_may_lead_only_after_this_one_may_not_any_more() -> None:
    assert lease.RENEW_DEADLINE_S < lease.LEASE_S
    assert lease.LEASE_S + lease.RETRY_S <= 12


def test_outside_a_cluster_it_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", "/nonexistent")
    from llmd_storage_evictor.errors import Misconfigured

    with pytest.raises(Misconfigured, match="--no-leader-election"):
        LeaseElection("name", "namespace", "me").start()


class Gone(Exception):
    status = 404


class Refused(Exception):
    status = 403


def wanted_by(data: dict[str, str] | Exception) -> tuple[ReleaseCheck, list[Any], list[float]]:
    answers, now = [data], [100.0]

    def read() -> Any:
        if isinstance(answers[0], Exception):
            raise answers[0]
        return SimpleNamespace(data=answers[0])

    check = ReleaseCheck(CONFIG, read, lambda: now[0])
    return check, answers, now


CONFIG = parse({"root_dir": "/cache", "budget_bytes": 1000})
THEIRS = {"config.json": '{"root_dir": "/cache", "budget_bytes": 1000}'}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (THEIRS, ""),
        ({}, ""),
        (Refused(), ""),
        (OSError(110, "timed out"), ""),
        (Gone(), "the release is gone"),
        ({"wanted": "false"}, "wants no evictor"),
        ({"config.json": '{"root_dir": "/cache", "budget_bytes": 9}'}, "other settings"),
        ({"config.json": "{}"}, "cannot be read"),
    ],
    ids=str,
)
def test_whether_the_release_wants_it(data: Any, reason: str) -> None:
    check, _, _ = wanted_by(data)
    check.look()
    assert check.reason.startswith(reason) or reason in check.reason
    assert bool(check.reason) == bool(reason)


def test_one_that_was_left_behind_stops_leading_and_does_not_take_the_lease_again() -> None:
    """Else it removes by the old budget on a claim that was kept."""
    check, answers, now = wanted_by(THEIRS)
    election = LeaseElection("name", "namespace", "me", clock=lambda: now[0])
    election._check = check
    inner = Lock()
    lock = lease._while_wanted(
        lease._instrumented(inner, election._record_renewal, threading.Event(), lambda: now[0]), check
    )
    assert lock.create() and election.leads()
    answers[0] = Gone()
    now[0] += 11
    lock.update()
    assert not election.leads() and "release is gone" in election.problem()
    assert not lock.update() and not lock.create()
    answers[0] = THEIRS  # installed again, with the same values
    now[0] += 11
    lock.update()
    assert lock.update() and election.leads() and election.problem() == ""

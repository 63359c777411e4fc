# SPDX-License-Identifier: Apache-2.0
"""A user would lose: a cache without a keeper, or with two, if a silent API server were taken for a yes."""

from __future__ import annotations

import pytest

from llmd_storage_evictor import lease
from llmd_storage_evictor.lease import RENEW_DEADLINE_S, LeaseElection


class Lock:
    """The client's lock, answering as told."""

    def __init__(self) -> None:
        self.answer = True

    def create(self, *arguments: object, **named: object) -> bool:
        return self.answer

    def update(self, *arguments: object, **named: object) -> bool:
        return self.answer


def test_leading_lasts_as_long_as_the_last_renewal_is_good_for() -> None:
    now = [100.0]
    election = LeaseElection("name", "namespace", "me", clock=lambda: now[0])
    lock = lease._watched(Lock(), election._note, clock=lambda: now[0])
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
    lease._watched(Slow(), election._note, clock=lambda: now[0]).update()
    assert not election.leads()


def test_every_call_has_a_time_limit() -> None:
    class Api:
        def read_namespaced_lease(self, *arguments: object, **named: object) -> object:
            return named

    assert lease._TimedApi(Api()).read_namespaced_lease("a", "b") == {"_request_timeout": lease._CALL_TIMEOUT_S}


def test_the_others_may_lead_only_after_this_one_may_not_any_more() -> None:
    assert lease.RENEW_DEADLINE_S < lease.LEASE_S
    assert lease.LEASE_S + lease.RETRY_S <= 12


def test_outside_a_cluster_it_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", "/nonexistent")
    from llmd_storage_evictor.errors import Misconfigured

    with pytest.raises(Misconfigured, match="--no-leader-election"):
        LeaseElection("name", "namespace", "me").start()

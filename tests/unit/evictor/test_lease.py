# SPDX-License-Identifier: Apache-2.0
"""A user would lose: a cache without a keeper, or with two, if a silent API server were taken for a yes."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kubernetes
import pytest

from llmd_storage_evictor import lease
from llmd_storage_evictor.lease import RENEW_DEADLINE_S, LeaseElection


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
    lock = lease._watched(Lock(), election._note, threading.Event(), lambda: now[0])
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
    lease._watched(Slow(), election._note, threading.Event(), lambda: now[0]).update()
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


class ApiServer:
    """As much of an API server as a Lease needs, conflicts included. deaf_to: a holder whose calls fail."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.deaf_to = ""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(200, outer.lease) if outer.lease else self._answer(404, {"code": 404})

            def do_POST(self) -> None:
                self._write(conflict=outer.lease is not None, version=1)

            def do_PUT(self) -> None:
                assert outer.lease is not None
                held = int(outer.lease["metadata"]["resourceVersion"])
                self._write(conflict=self._body()["metadata"].get("resourceVersion") != str(held), version=held + 1)

            def _body(self) -> dict[str, Any]:
                if not hasattr(self, "_read"):
                    self._read = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                return self._read

            def _write(self, conflict: bool, version: int) -> None:
                body = self._body()
                del self._read
                if conflict or body["spec"]["holderIdentity"] == outer.deaf_to:
                    return self._answer(409, {"code": 409})
                body["metadata"]["resourceVersion"] = str(version)
                outer.lease = body
                return self._answer(200, body)

            def _answer(self, status: int, body: object) -> None:
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def kubeconfig(self) -> str:
        named = {"name": "x"}
        return json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [named | {"cluster": {"server": f"http://127.0.0.1:{self.server.server_port}"}}],
            "users": [named | {"user": {}}],
            "contexts": [named | {"context": {"cluster": "x", "user": "x"}}],
        })  # fmt: skip


def test_with_the_real_client_one_leads_and_the_other_follows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api = ApiServer()
    (tmp_path / "config").write_text(api.kubeconfig())
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "config"))
    first, second = LeaseElection("evictor", "default", "first"), LeaseElection("evictor", "default", "second")

    def wait_for(what: Callable[[], bool]) -> None:
        until = time.monotonic() + 60
        while not what():
            assert time.monotonic() < until
            assert not (first.leads() and second.leads()), "two leaders"
            time.sleep(0.02)

    try:
        first.start()
        wait_for(first.leads)
        second.start()
        api.deaf_to = "first"  # as if it were gone, or cut off
        wait_for(second.leads)
        assert not first.leads() and first.alive() and second.alive()
        assert api.lease is not None and api.lease["spec"]["holderIdentity"] == "second"
    finally:
        first.stop(), second.stop()
        wait_for(lambda: not first.alive() and not second.alive())
        api.server.shutdown()
        api.server.server_close()

# SPDX-License-Identifier: Apache-2.0
"""The elections of two evictors by Kubernetes' own client. A user would lose: the budget, if two led, or nobody."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from llmd_storage_evictor.leader.lease import LeaseElection
from tests.patience import eventually


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
        def so() -> bool:
            assert not (first.leads() and second.leads()), "two leaders"
            return what()

        eventually(so, "the elections", every_s=0.02)

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

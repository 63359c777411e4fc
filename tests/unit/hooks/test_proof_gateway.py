# SPDX-License-Identifier: Apache-2.0
"""The proof through a Gateway: it is asked where its status says, and a Gateway that is not ready fails the install."""

from __future__ import annotations

import ssl
import subprocess
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from llmd_storage_hooks.core.errors import Forbidden, NotFound
from llmd_storage_hooks.proof.collect import gateway
from llmd_storage_hooks.proof.collect.server import Credentials, Server
from llmd_storage_hooks.proof.config import ProofGateway
from llmd_storage_hooks.proof.facts import Gateway
from tests.unit.hooks import test_proof_run as stand_ins
from tests.unit.hooks.fake_vllm import FakeVllm
from tests.unit.hooks.support import FakeClock, http_server

CONFIG = replace(stand_ins.CONFIG, gateway=ProofGateway(name="gw"))
HTTP = {"name": "http", "port": 80, "protocol": "HTTP"}
HTTPS = {"name": "https", "port": 443, "protocol": "HTTPS"}


def raw(*listeners: dict[str, Any], addresses: tuple[str, ...] = ("10.0.0.9",), programmed: str = "True"):
    return {
        "spec": {"listeners": list(listeners)},
        "status": {
            "addresses": [{"type": "IPAddress", "value": a} for a in addresses],
            "conditions": [{"type": "Programmed", "status": programmed, "message": "no proxy."}],
        },
    }


@pytest.mark.parametrize(
    ("observed", "section", "url"),
    [
        (raw(HTTPS, HTTP), "", "http://10.0.0.9:80"),
        (raw(HTTPS, HTTP), "https", "https://10.0.0.9:443"),
        (raw(HTTPS), "", "https://10.0.0.9:443"),
        (raw(HTTP | {"port": 8080}, addresses=("gw.ns.svc.cluster.local", "10.0.0.9")), "", "http://gw.ns.svc.cluster.local:8080"),
        (raw(HTTP, addresses=("fd00::1",)), "", "http://[fd00::1]:80"),
        (raw(HTTP, addresses=()), "", ""),
        (raw(HTTP), "other", ""),
        (raw({"name": "tcp", "port": 1, "protocol": "TCP"}), "", ""),
        ({}, "", ""),
    ],
)  # fmt: skip
def test_a_gateway_is_asked_where_its_status_and_its_listeners_say(observed: Any, section: str, url: str) -> None:
    assert gateway.parse_gateway(observed, section).url == url


class Answers:
    """An API server that answers each question in turn, the last one for ever."""

    def __init__(self, *answers: Any) -> None:
        self.answers, self.paths = list(answers), []

    def get(self, path: str, query: dict[str, str] | None = None) -> Any:
        self.paths.append(path)
        answer = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_it_is_waited_for() -> None:
    kube, said, clock = Answers(NotFound("none"), raw(HTTP, programmed="False"), raw(HTTP)), [], FakeClock()
    assert gateway.find(CONFIG, kube, clock, said.append) == Gateway(True, "no proxy.", "http://10.0.0.9:80")
    assert kube.paths[0] == "/apis/gateway.networking.k8s.io/v1/namespaces/ns/gateways/gw"
    assert [line for line in said if "none" in line] and [line for line in said if "no proxy" in line]
    assert clock.now() == 2 * gateway.POLL_S


@pytest.mark.parametrize("never", [raw(HTTP, programmed="False"), raw(HTTP, addresses=()), Forbidden("not allowed")])
def test_waiting_ends(never: Any) -> None:
    clock = FakeClock()
    assert gateway.find(CONFIG, Answers(never), clock, lambda _: None).url == ""
    assert clock.now() <= CONFIG.ready_timeout_seconds + gateway.POLL_S


class WithGateway(stand_ins.FakeKube):
    def __init__(self, answer: Any) -> None:
        super().__init__(stand_ins.TWO)
        self.answer = answer

    def get(self, path: str, query: dict[str, str] | None = None) -> Any:
        return self.answer if "/gateways/" in path else super().get(path, query)


def test_the_prompt_is_asked_through_the_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    behind = FakeVllm({})
    with http_server(behind.answer) as url:
        port = int(url.rpartition(":")[2])
        kube = WithGateway(raw(HTTP | {"port": port}, addresses=("127.0.0.1",)))
        findings, block, _ = stand_ins.run(monkeypatch, kube=kube, gateway=CONFIG.gateway)
    assert findings["proof.router.answer"].verdict.value == "pass"
    assert url in findings["proof.router.answer"].sentence
    assert block["ttftRouterSeconds"] is not None and behind.requests


def test_below_the_path_that_its_route_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a Gateway of several releases the bare address is another one's, or nobody's."""
    behind = FakeVllm({})

    def below(method: str, path: str, body: bytes) -> Any:
        return behind.answer(method, path.removeprefix("/qwen3"), body) if path.startswith("/qwen3/") else (404, b"{}")

    with http_server(below) as url:
        port = int(url.rpartition(":")[2])
        kube = WithGateway(raw(HTTP | {"port": port}, addresses=("127.0.0.1",)))
        findings, _, _ = stand_ins.run(monkeypatch, kube=kube, gateway=replace(CONFIG.gateway, path="/qwen3"))
    assert findings["proof.router.answer"].verdict.value == "pass" and behind.requests


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (raw(HTTP, programmed="False"), 'Gateway "gw" is not programmed: no proxy.'),
        (raw(addresses=()), 'Gateway "gw" is programmed, but has no address'),
    ],
)
def test_a_gateway_that_never_serves_fails_the_proof(monkeypatch: pytest.MonkeyPatch, answer: Any, said: str) -> None:
    findings, block, _ = stand_ins.run(monkeypatch, kube=WithGateway(answer), gateway=CONFIG.gateway)
    finding = findings["proof.router.answer"]
    assert finding.verdict.value == "fail" and finding.remedy and said in finding.sentence
    assert block["ttftRouterSeconds"] is None


def test_an_address_of_yours_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    kube = WithGateway(Forbidden("it is not even asked"))
    findings, _, _ = stand_ins.run(monkeypatch, router=FakeVllm({}), kube=kube, gateway=CONFIG.gateway)
    assert findings["proof.router.answer"].verdict.value == "pass"


def test_a_route_for_one_host_name_is_asked_by_that_name(certificate: tuple[Path, Path]) -> None:
    """Over TLS: the name goes into the handshake too, or a Gateway with two certificates takes the wrong one."""
    asked: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.headers["Host"])
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"https://127.0.0.1:{server.server_port}"
        assert Server(url, "m", 5, Credentials(at_address="llm.example.com")).complete("x", 1).status == 404
        assert Server(url, "m", 5).complete("x", 1).status == 0, "an address of the user's is verified"
    finally:
        server.shutdown()
        server.server_close()
    assert asked[:2] == ["llm.example.com", "llm.example.com"]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    made = (folder / "crt", folder / "key")
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
    subprocess.run([*argv, "-subj", "/CN=x", "-out", made[0], "-keyout", made[1]], check=True, capture_output=True)
    return made

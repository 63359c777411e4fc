"""The chart's Envoy configuration, served by the real Envoy on loopback while the picker is down."""

from __future__ import annotations

import http.client
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import yaml

from tests.chart.test_router import envoy_config, free_port
from tests.patience import CEILING_S, eventually

# Seconds, not a minute, until a request is given up.
TRIES = 10


@contextmanager
def server(name: str, status: int = 200, port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Answers every request with its own name."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(name.encode())

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"] or 0))
            self.do_GET()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as httpd:
        if tls is not None:
            httpd.socket = tls.wrap_socket(httpd.socket, server_side=True)
            httpd.handle_error = lambda *_: None  # type: ignore[method-assign]  # who does not trust it hangs up
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield httpd.server_port
        httpd.shutdown()


@contextmanager
def picker(port: int) -> Iterator[threading.Event]:
    """Takes connections as a picker does that has just begun. The event: something was sent, so it is being asked."""
    asked = threading.Event()

    def take(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                if connection.recv(1):  # a health check connects, and hangs up
                    asked.set()

    with socket.create_server(("127.0.0.1", port)) as listener:
        threading.Thread(target=take, args=(listener,), daemon=True).start()
        yield asked
        listener.shutdown(socket.SHUT_RDWR)


@contextmanager
def router(
    envoy: Path, scenario: str, model_port: int, folder: Path, picker_port: int = 0, ca: Path | None = None
) -> Iterator[int]:
    """Envoy with that scenario's configuration, its addresses moved to loopback; the picker's port is closed.

    Whether there is a picker it sees by a connection: what only the real one answers is tried on the cluster.
    ca: stands for the file with the model servers' CA.
    """
    config = envoy_config(scenario)
    port = int(free_port())
    config["admin"]["address"]["socket_address"]["port_value"] = int(free_port())
    listener = config["static_resources"]["listeners"][0]["address"]["socket_address"]
    listener |= {"address": "127.0.0.1", "port_value": port}
    router = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    again = router["route_config"]["virtual_hosts"][0]["routes"][0]["route"]["retry_policy"]
    again["num_retries"] = min(again["num_retries"], TRIES)
    there = {"any": model_port, "picker": picker_port or int(free_port())}
    for cluster in config["static_resources"]["clusters"]:
        if cluster["name"] in there:
            endpoint = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
            endpoint["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": there[cluster["name"]]}
            endpoint.pop("health_check_config", None)
            cluster["type"] = "STATIC"
        for check in cluster.get("health_checks", []):
            del check["grpc_health_check"], check["transport_socket_match_criteria"]
            check["tcp_health_check"] = {}
    path = folder / "envoy.yaml"
    path.write_text(yaml.safe_dump(config).replace("/etc/modelserver-ca/ca.crt", str(ca)))
    argv = [envoy, "--config-path", path, "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:

        def listens() -> bool:
            assert process.poll() is None, "Envoy ended"
            with socket.socket() as one:
                return one.connect_ex(("127.0.0.1", port)) == 0

        eventually(listens, "Envoy to listen", every_s=0.1)
        yield port
    finally:
        process.terminate()
        process.wait(CEILING_S)


def retries(folder: Path) -> int:
    """How often the Envoy whose configuration is in that folder has tried again."""
    admin = yaml.safe_load((folder / "envoy.yaml").read_text())["admin"]["address"]["socket_address"]["port_value"]
    with urlopen(f"http://127.0.0.1:{admin}/stats?filter=cluster.picking.upstream_rq_retry$") as answer:
        return int(answer.read().split(b":")[1])


def ask(port: int, method: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=CEILING_S)
    body = b'{"prompt": "x"}' if method == "POST" else None
    connection.request(method, "/v1/models", body, headers or {})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


@pytest.fixture
def servers() -> Iterator[tuple[int, int]]:
    with server("model") as model, server("elsewhere") as elsewhere:
        yield model, elsewhere


def test_fail_close_says_so(envoy: Path, servers: tuple[int, int], tmp_path: Path) -> None:
    model, elsewhere = servers
    with router(envoy, "lab", model, tmp_path) as port:
        for method in ("GET", "POST"):
            status, text = ask(port, method, {"x-gateway-destination-endpoint": f"127.0.0.1:{elsewhere}"})
            assert status >= 500 and "elsewhere" not in text


def test_fail_open_serves_all_and_never_what_the_client_names(
    envoy: Path, servers: tuple[int, int], tmp_path: Path
) -> None:
    """Without the picker the client's own header would be the address that Envoy connects to."""
    model, elsewhere = servers
    with router(envoy, "standalone", model, tmp_path) as port:
        assert ask(port, "GET") == (200, "model")
        named = {"x-gateway-destination-endpoint": f"127.0.0.1:{elsewhere}"}
        assert ask(port, "GET", named) == (200, "model")
        # Known to be gone before the body is on the way: without that, a POST fails in spite of FailOpen.
        assert ask(port, "POST", named) == (200, "model")


@pytest.mark.parametrize("scenario", ["lab", "standalone"])
def test_a_picker_that_comes_after_envoy_is_asked_seconds_later(
    envoy: Path, servers: tuple[int, int], tmp_path: Path, scenario: str
) -> None:
    """A cluster that has had no traffic yet is looked at once a minute only, if one says nothing about that."""
    port_of_picker = int(free_port())
    with router(envoy, scenario, servers[0], tmp_path, port_of_picker) as port:
        ask(port, "GET")
        with picker(port_of_picker) as asked:
            eventually(lambda: ask(port, "GET") and asked.is_set(), "Envoy to ask the picker", every_s=0.2)


class Hasty:
    """Takes connections and ends each one as soon as something came: a model server that dies of a request."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener, self.asked = listener, 0

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                if connection.recv(1):
                    self.asked += 1


@pytest.fixture
def hasty() -> Iterator[tuple[Hasty, int]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = Hasty(listener)
        threading.Thread(target=one.serve, daemon=True).start()
        yield one, listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def test_a_request_waits_for_a_model_server_that_is_just_coming(envoy: Path, tmp_path: Path) -> None:
    """A drain, a rollout: the server that is picked is gone, and the next one is not there yet."""
    port_of_model, answers = int(free_port()), list[tuple[int, str]]()
    with router(envoy, "standalone", port_of_model, tmp_path) as port:
        asking = threading.Thread(target=lambda: answers.append(ask(port, "POST")), daemon=True)
        asking.start()
        eventually(lambda: retries(tmp_path) >= 2, "two tries in vain", every_s=0.1)
        with server("model", port=port_of_model):
            asking.join(CEILING_S)
    assert answers == [(200, "model")]


def test_a_request_that_a_server_died_of_is_tried_once_more(
    envoy: Path, tmp_path: Path, hasty: tuple[Hasty, int]
) -> None:
    """It may be the request: then it would end one server after the other."""
    one, port_of_model = hasty
    with router(envoy, "standalone", port_of_model, tmp_path) as port:
        status, _ = ask(port, "POST")
    assert (status, one.asked) == (503, 2)


def test_what_a_model_server_answers_is_the_answer(envoy: Path, tmp_path: Path) -> None:
    for status in (500, 503):
        with (
            server("sick", status=status) as model,
            router(envoy, "standalone", model, tmp_path) as port,
        ):
            assert ask(port, "POST") == (status, "sick")
            assert retries(tmp_path) == 0

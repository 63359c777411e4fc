"""The chart's Envoy configuration, served by the real Envoy on loopback while the picker is down."""

from __future__ import annotations

import http.client
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.test_router import envoy_config, free_port
from tests.patience import CEILING_S, eventually


@contextmanager
def server(name: str) -> Iterator[int]:
    """Answers every request with its own name."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(name.encode())

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"] or 0))
            self.do_GET()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
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
def router(envoy: Path, scenario: str, model_port: int, folder: Path, picker_port: int = 0) -> Iterator[int]:
    """Envoy with that scenario's configuration, its addresses moved to loopback; the picker's port is closed."""
    config = envoy_config(scenario)
    port = int(free_port())
    config["admin"]["address"]["socket_address"]["port_value"] = int(free_port())
    listener = config["static_resources"]["listeners"][0]["address"]["socket_address"]
    listener |= {"address": "127.0.0.1", "port_value": port}
    for cluster in config["static_resources"]["clusters"]:
        if "load_assignment" in cluster:
            endpoint = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
            there = model_port if cluster["name"] == "any" else picker_port or int(free_port())
            endpoint["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": there}
            cluster["type"] = "STATIC"
    path = folder / "envoy.yaml"
    path.write_text(yaml.safe_dump(config))
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

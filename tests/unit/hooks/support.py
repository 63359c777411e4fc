# SPDX-License-Identifier: Apache-2.0
"""Shared by the hooks' tests: a clock that does not sleep, a small HTTP server, the report's schema."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jsonschema

from llmd_storage_hooks.core.catalogue import find
from llmd_storage_hooks.core.report import Report, to_json
from llmd_storage_hooks.core.verdicts import Finding, Verdict
from tests import scripts

ROOT = Path(__file__).parents[3]
SCHEMA = json.loads((ROOT / "schemas" / "hook-report.schema.json").read_text(encoding="utf-8"))
SENTENCES = (ROOT / "docs" / "sentences.md").read_text(encoding="utf-8")


def findable(check_id: str, sentence: str) -> bool:
    """Whether docs/sentences.md, which is made from the checks' source, has what was said in a run under this id."""
    return bool(scripts.module("docs/site", "sentences").findable(check_id, sentence, SENTENCES))


class FakeClock:
    """Sleeping only moves the time on."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


def assert_valid(body: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER).validate(
        body
    )


def report(*findings: Finding, hook: str = "probe", **more: Any) -> Report:
    return Report(hook, "demo", "ns", "2026-01-01T00:00:00+00:00", 1.25, findings, **more)


def by_id(findings: list[Finding]) -> dict[str, Finding]:
    """The findings by id; each must fit the report's schema, be in the catalogue and say what to do if it is bad,
    in a sentence that the docs have."""
    for one in findings:
        entry = find(one.id)
        assert entry is not None, f"{one.id} is in no table of checks"
        if one.verdict not in (Verdict.PASS, Verdict.SKIPPED):
            assert one.verdict.value in entry.ends, one
            assert one.remedy, one
            assert findable(one.id, one.sentence), f"docs/sentences.md: {one}"
        assert_valid(to_json(report(one, hook=one.id.split(".")[0])))
    return {one.id: one for one in findings}


Reply = tuple[int, bytes | Iterator[bytes]]


@contextmanager
def http_server(answer: Callable[[str, str, bytes], Reply], tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """A loopback server; `answer(method, path, body)` gives status and body. Yields the base URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"

        def log_message(self, *args: Any) -> None:
            return

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, data = answer(self.command, self.path, body)
            self.send_response(status)
            self.end_headers()
            for part in [data] if isinstance(data, bytes) else data:
                self.wfile.write(part)
                self.wfile.flush()

        do_GET = do_POST = do_PATCH = _serve

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that does not trust it hangs up
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def https_server(folder: Path, name: str, answer: Callable[[str, str, bytes], Reply]) -> Iterator[tuple[str, Path]]:
    """As http_server, with a certificate of a CA of its own for `name`. Yields URL and CA file."""
    key, cert = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "1",
         "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"],
        check=True, capture_output=True,
    )  # fmt: skip
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(cert, key)
    with http_server(answer, tls) as url:
        yield url, cert

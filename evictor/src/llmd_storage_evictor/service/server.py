# SPDX-License-Identifier: Apache-2.0
"""/metrics, /livez and /healthz. None touches storage, so all answer while it hangs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST

from llmd_storage_evictor.controller.metrics import Metrics


def serve(
    port: int,
    metrics: Metrics,
    stuck: Callable[[], str],
    problem: Callable[[], str],
    remark: Callable[[], str] = lambda: "",
) -> ThreadingHTTPServer:
    """Serve on all addresses until the process ends.

    stuck(): why the process should be started again. problem(): why the budget does not hold. "" = no reason.
    remark(): what to know though the budget holds.

    port 0: any free port (server_port has it). Raises: OSError when the port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self._answer(200, metrics.text(), CONTENT_TYPE_LATEST)
            elif path in ("/livez", "/healthz"):
                found = stuck() if path == "/livez" else problem()
                well = ": ".join(filter(None, ("ok", remark() if path == "/healthz" else "")))
                self._answer(503 if found else 200, (found or well).encode() + b"\n", "text/plain; charset=utf-8")
            else:
                self._answer(404, b"there are /metrics, /livez and /healthz\n", "text/plain; charset=utf-8")

        def _answer(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Probes and scrapes are not logged."""

    server = ThreadingHTTPServer(("", port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
    return server

# SPDX-License-Identifier: Apache-2.0
"""A real browser that looks at a page: Debian's Chromium, driven over a pipe by the DevTools protocol.

https://chromedevtools.github.io/devtools-protocol/. Two pipes and JSON need no driver and no package: messages end with
a zero byte, commands go in on descriptor 3, answers and events come out on descriptor 4.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any


def chromium() -> str:
    """The browser's path; it is installed when it is not there."""
    if found := shutil.which("chromium"):
        return found
    lock = ("-o", "DPkg::Lock::Timeout=300")
    for argv in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"],
    ):
        subprocess.run(
            [*argv[:1], *lock, *argv[1:]],
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            stdout=subprocess.DEVNULL,
            check=True,
        )
    return str(shutil.which("chromium"))


@dataclass
class Seen:
    """What one page did. complaints: console errors, exceptions, and what could not be loaded."""

    complaints: list[str] = field(default_factory=list)
    requested: list[str] = field(default_factory=list)
    value: Any = None
    picture: bytes = b""


class Browser:
    """One Chromium without a window. Used from one thread; ends with the block."""

    def __enter__(self) -> Browser:
        self._home = tempfile.mkdtemp(prefix="browser-")
        commands, self._out = os.pipe()
        self._in, answers = os.pipe()
        # The browser wants its ends as descriptors 3 and 4.
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        flags += ["--remote-debugging-pipe", f"--user-data-dir={self._home}", "--window-size=1200,1600"]
        script = f'exec 3<&{commands} 4>&{answers}; exec "$@"'
        self._process = subprocess.Popen(
            ["bash", "-c", script, "browser", chromium(), *flags, "about:blank"],
            pass_fds=(commands, answers),
            env={**os.environ, "HOME": self._home},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(commands)
        os.close(answers)
        self._buffer = b""
        self._numbers = itertools.count(1)
        self.events: list[dict[str, Any]] = []
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.call("Browser.close")
            self._process.wait(10)
        except (OSError, RuntimeError, subprocess.TimeoutExpired):
            pass
        finally:
            if self._process.poll() is None:
                os.killpg(self._process.pid, 9)
                self._process.wait(10)
            os.close(self._out)
            os.close(self._in)
            shutil.rmtree(self._home, ignore_errors=True)

    def call(self, method: str, session: str = "", timeout_s: float = 60, **params: Any) -> dict[str, Any]:
        """A command's result. Raises: RuntimeError with the browser's words, or when it does not answer."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params} | ({"sessionId": session} if session else {})
        os.write(self._out, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + timeout_s
        while True:
            got = self._next(end)
            if got is None:
                raise RuntimeError(f"{method}: no answer within {timeout_s:.0f} s")
            if got.get("id") != number:
                self.events.append(got)
            elif "error" in got:
                raise RuntimeError(f"{method}: {got['error']['message']}")
            else:
                return dict(got["result"])

    def _next(self, end: float) -> dict[str, Any] | None:
        """The next message, or None when there is none until then."""
        while b"\0" not in self._buffer:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._in], [], [], left)[0]:
                return None
            if not (data := os.read(self._in, 1 << 16)):
                raise RuntimeError("the browser has ended")
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(message))

    def look_at(self, page: Path, ask: str = "null", *, timeout_s: float = 60) -> Seen:
        """Opens a file, waits until it is loaded, and gives the value of a JavaScript expression in it."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable", session)
        self.events.clear()
        self.call("Page.navigate", session, url=page.resolve().as_uri())
        self._wait(lambda e: e.get("method") == "Page.loadEventFired", timeout_s)
        seen = Seen()
        seen.value = self.call("Runtime.evaluate", session, expression=ask, returnByValue=True)["result"].get("value")
        seen.picture = base64.b64decode(self.call("Page.captureScreenshot", session)["data"])
        for event in self.events:
            _note(seen, event.get("method", ""), event.get("params", {}))
        self.call("Target.closeTarget", targetId=target)
        return seen

    def _wait(self, wanted: Callable[[dict[str, Any]], bool], timeout_s: float) -> None:
        end = time.monotonic() + timeout_s
        while not any(wanted(e) for e in self.events):
            event = self._next(end)
            if event is None:
                raise RuntimeError(f"the page was not loaded within {timeout_s:.0f} s")
            self.events.append(event)


def _note(seen: Seen, method: str, params: dict[str, Any]) -> None:
    if method == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert", "warning"):
        seen.complaints.append(" ".join(str(a.get("value", a.get("description"))) for a in params["args"]))
    elif method == "Runtime.exceptionThrown":
        seen.complaints.append(str(params["exceptionDetails"].get("text")))
    elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
        seen.complaints.append(str(params["entry"]["text"]))
    elif method == "Network.loadingFailed":
        seen.complaints.append(f"not loaded: {params['errorText']}")
    elif method == "Network.requestWillBeSent":
        seen.requested.append(str(params["request"]["url"]))

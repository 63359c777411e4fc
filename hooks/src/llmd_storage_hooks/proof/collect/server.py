# SPDX-License-Identifier: Apache-2.0
"""One model server (or the router in front of them) over HTTP."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from llmd_storage_hooks.core import trust
from llmd_storage_hooks.core.errors import CollectError, NotFound, Unreachable
from llmd_storage_hooks.proof.collect import dialect, prometheus
from llmd_storage_hooks.proof.facts import Answer

_BODY_CHARS = 300
_QUICK_S = 10.0


@dataclass(frozen=True, slots=True)
class Credentials:
    """How a server is asked.

    ca_files: CA certificates for https, beside the system's. server_name: the name in the certificate, "" = the host of
    the address. at_address: the host name to send to an address that is taken from a Gateway's status ("" = none); its
    certificate is not verified, as the CA that clients trust is not known here. None = verify as usual.
    """

    api_key: str = ""
    ca_files: tuple[str, ...] = ()
    server_name: str = ""
    at_address: str | None = None

    def client(self, timeout_s: float) -> httpx.Client:
        """Raises: CollectError when a CA file cannot be read."""
        try:
            trusted = trust.context(self.ca_files)
        except OSError as error:
            files = " or ".join(self.ca_files)
            raise CollectError(f"{files} holds no CA certificates that can be read ({error})") from error
        headers = {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        if self.at_address is not None:
            trusted.check_hostname, trusted.verify_mode = False, ssl.CERT_NONE
        if self.at_address:
            headers["Host"] = self.at_address
        # Pods are asked by address, so a proxy from the environment would only be in the way.
        client = httpx.Client(headers=headers, trust_env=False, timeout=timeout_s, verify=trusted)
        if self.at_address or self.server_name:
            client.event_hooks["request"] = [self._name]
        return client

    def _name(self, request: httpx.Request) -> None:
        request.extensions["sni_hostname"] = self.at_address or self.server_name


class Server:
    """Requires: `base_url` without a path. Blocks up to: `timeout_s` per request without any data."""

    def __init__(self, base_url: str, model: str, timeout_s: float, credentials: Credentials = Credentials()) -> None:
        """Raises: CollectError when the credentials cannot be used."""
        self.base_url = base_url.rstrip("/")
        self._model = model
        self._timeout_s = timeout_s
        self._http = credentials.client(timeout_s)
        self._dialect = dialect.COMPLETIONS

    @property
    def chat(self) -> bool:
        return self._dialect.chat

    def use_chat(self) -> None:
        """From here on ask through chat: for a server without completions."""
        self._dialect = dialect.CHAT

    def close(self) -> None:
        self._http.close()

    def tokenize(self, text: str) -> tuple[int, int | None]:
        """Token count of `text`, and the model's context length when the server says it.

        Raises: NotFound (no such endpoint), CollectError, Unreachable.
        """
        answer = self._post("/tokenize", {"model": self._model, **self._dialect.asked(text)})
        length = answer.get("max_model_len")
        try:
            return int(answer["count"]), int(length) if length is not None else None
        except (KeyError, TypeError, ValueError) as error:
            raise CollectError(f"{self.base_url}/tokenize gave an unexpected answer") from error

    def metrics(self) -> prometheus.Metrics:
        """Raises: CollectError, Unreachable."""
        try:
            response = self._http.get(f"{self.base_url}/metrics", timeout=_QUICK_S)
        except httpx.HTTPError as error:
            raise Unreachable(f"{self.base_url}/metrics: {_said(error)}") from error
        if response.status_code != 200:
            raise CollectError(f"{self.base_url}/metrics answered {response.status_code}")
        return prometheus.parse(response.text)

    def complete(self, prompt: str, max_tokens: int, logprobs: bool = True) -> Answer:
        """Greedy completion, streamed. Never raises: what went wrong is in the answer."""
        began = time.monotonic()
        try:
            with self._http.stream(
                "POST", f"{self.base_url}{self._dialect.path}", json=self._request(prompt, max_tokens, logprobs)
            ) as response:
                if response.status_code == 200:
                    return _collect(response.iter_lines(), began, self._dialect)
                status, body = response.status_code, response.read().decode("utf-8", "replace")
            error = " ".join(body.split())[:_BODY_CHARS]
            if status == 404 and not dialect.lacks_completions(status, body):
                error += self._served()
            return Answer(status=status, error=error, no_endpoint=dialect.lacks_completions(status, body))
        except httpx.HTTPError as error:
            return Answer(status=0, error=_said(error), total_seconds=time.monotonic() - began)

    def _request(self, prompt: str, max_tokens: int, logprobs: bool) -> dict[str, Any]:
        return {
            "model": self._model,
            **self._dialect.asked(prompt),
            "max_tokens": max_tokens,
            "temperature": 0,
            "seed": 0,
            "ignore_eos": True,
            **self._dialect.with_logprobs(2 if logprobs else 0),  # the second best says whether a token was a near-tie
            "stream": True,
            "stream_options": {"include_usage": True},
            "return_token_ids": True,
            # Connector llmd-storage waits for storage for this request, also where computing would be quicker.
            "kv_transfer_params": {"llmd_storage_patient": True},
        }

    def _served(self) -> str:
        """The names that the server has, for a sentence; "" when it does not say."""
        try:
            listed = self._http.get(f"{self.base_url}/v1/models", timeout=_QUICK_S).json()["data"]
            names = ", ".join(str(one["id"]) for one in listed)
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return ""
        return f" (asked for {self._model}; it serves {names})"

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        try:
            response = self._http.post(f"{self.base_url}{path}", json=body)
        except httpx.HTTPError as error:
            raise Unreachable(f"{self.base_url}{path}: {_said(error)}") from error
        if response.status_code in (404, 405):
            raise NotFound(f"{self.base_url} has no {path}")
        if response.status_code != 200:
            said = " ".join(response.text.split())[:_BODY_CHARS]
            raise CollectError(f"{self.base_url}{path} answered {response.status_code}: {said}")
        try:
            parsed = response.json()
        except ValueError as error:
            raise CollectError(f"{self.base_url}{path} did not answer with JSON") from error
        return parsed if isinstance(parsed, dict) else {}


def _said(error: httpx.HTTPError) -> str:
    return str(error) or type(error).__name__


def events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """The JSON objects of a server-sent event stream, up to [DONE]."""
    for line in lines:
        if not line.startswith("data:"):
            continue
        data = line[5:].strip()
        if data == "[DONE]":
            return
        try:
            event = json.loads(data)
        except ValueError:
            continue
        if isinstance(event, dict):
            yield event


def _collect(lines: Iterator[str], began: float, spoken: dialect.Dialect) -> Answer:
    tokens: list[int] = []
    logprobs: list[float] = []
    gaps: list[float] = []
    text = ""
    first: float | None = None
    usage: dict[str, Any] = {}
    for event in events(lines):
        if "error" in event:
            return Answer(status=200, error=f"{event['error']}"[:_BODY_CHARS], text=text)
        usage = event.get("usage") or usage
        for choice in event.get("choices") or []:
            piece = spoken.piece(choice)
            if first is None and (piece.text or piece.tokens):
                first = time.monotonic() - began
            text += piece.text
            tokens += piece.tokens
            logprobs += piece.logprobs
            gaps += piece.gaps
    return Answer(
        status=200,
        text=text,
        tokens=tuple(tokens),
        logprobs=tuple(logprobs),
        gaps=tuple(gaps),
        prompt_tokens=int(usage.get("prompt_tokens") or 0),
        cached_tokens=(usage.get("prompt_tokens_details") or {}).get("cached_tokens"),
        ttft_seconds=first,
        total_seconds=time.monotonic() - began,
        error="" if first is not None else "the stream ended without a token",
    )

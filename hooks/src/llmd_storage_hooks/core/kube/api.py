# SPDX-License-Identifier: Apache-2.0
"""The Kubernetes API: plain JSON in and out, every call bounded, every failure one of our errors."""

from __future__ import annotations

import json
import os
from typing import Any, Protocol

from llmd_storage_core.kube_tls import accept_plain_cas
from llmd_storage_hooks.core.errors import CollectError, Forbidden, NotFound, Unreachable

CALL_TIMEOUT_S = 10.0
_MESSAGE_CHARS = 256  # foreign text is cut: a log line, not a dump


class KubeApi(Protocol):
    """What the hooks need of an API server."""

    def get(self, path: str, query: dict[str, str] | None = None) -> Any:
        """The JSON at `path`. Raises: NotFound, Forbidden, Unreachable, CollectError."""
        ...

    def text(self, path: str, query: dict[str, str] | None = None) -> str:
        """The body at `path` as text (logs). Raises: as `get`."""
        ...

    def merge_patch(self, path: str, body: dict[str, Any]) -> None:
        """Patch the object at `path`. Raises: as `get`."""
        ...

    def create(self, path: str, body: dict[str, Any]) -> None:
        """Make an object in the collection at `path`. Raises: as `get`."""
        ...

    def delete(self, path: str, options: dict[str, Any]) -> None:
        """Delete the object at `path`, with these DeleteOptions. Raises: as `get`."""
        ...


class Kube:
    """KubeApi over the official client: the ServiceAccount inside a pod, else KUBECONFIG."""

    def __init__(self, client: Any, timeout_s: float = CALL_TIMEOUT_S) -> None:
        self._client = client
        self._timeout_s = timeout_s

    @classmethod
    def connect(cls) -> Kube:
        """Raises: Unreachable when there are no credentials to be found."""
        # Imported here: it takes half a second, and only a hook that asks the API server needs it.
        import kubernetes

        configuration = kubernetes.client.Configuration()
        try:
            if os.environ.get("KUBERNETES_SERVICE_HOST"):
                kubernetes.config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]
            else:
                kubernetes.config.load_kube_config(  # type: ignore[no-untyped-call]
                    client_configuration=configuration
                )
        except (kubernetes.config.ConfigException, OSError) as error:
            raise Unreachable(f"no credentials for a cluster: {_cut(str(error))}") from error
        configuration.retries = 0  # a refused connection is an answer; waiting is the caller's business
        return cls(accept_plain_cas(kubernetes.client.ApiClient(configuration)))

    def get(self, path: str, query: dict[str, str] | None = None) -> Any:
        body = self._call("GET", path, query)
        try:
            return json.loads(body)
        except ValueError as error:
            raise CollectError(f"the API server's answer to {path} is not JSON") from error

    def text(self, path: str, query: dict[str, str] | None = None) -> str:
        return self._call("GET", path, query).decode("utf-8", "replace")

    def merge_patch(self, path: str, body: dict[str, Any]) -> None:
        self._call("PATCH", path, None, body, "application/merge-patch+json")

    def create(self, path: str, body: dict[str, Any]) -> None:
        self._call("POST", path, None, body, "application/json")

    def delete(self, path: str, options: dict[str, Any]) -> None:
        self._call("DELETE", path, None, options, "application/json")

    def _call(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None,
        body: dict[str, Any] | None = None,
        content_type: str = "",
    ) -> bytes:
        headers = {"Accept": "application/json, */*"}
        if content_type:
            headers["Content-Type"] = content_type
        try:
            request = self._client.param_serialize(
                method, path, query_params=list((query or {}).items()), header_params=headers, body=body,
                auth_settings=["BearerToken"],
            )  # fmt: skip
            response = self._client.call_api(*request, _request_timeout=self._timeout_s)
            data: bytes = response.read()
        except Exception as error:  # urllib3's, ssl's and the client's own kinds, all meaning "no answer"
            raise Unreachable(_cut(_innermost(error))) from error
        if response.status >= 400:
            raise _refusal(int(response.status), data)
        return data


def _refusal(status: int, data: bytes) -> CollectError:
    try:
        message = str(json.loads(data).get("message", ""))
    except (ValueError, AttributeError):
        message = ""
    said = _cut(message) or f"HTTP status {status}"
    if status == 404:
        return NotFound(said)
    if status in (401, 403):
        return Forbidden(f"not allowed ({said})")
    return CollectError(f"the API server answered {status}: {said}")


def _innermost(error: BaseException) -> str:
    reason = getattr(error, "reason", None)
    return str(reason) if isinstance(reason, BaseException) else str(error) or type(error).__name__


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MESSAGE_CHARS else line[: _MESSAGE_CHARS - 3] + "..."

# SPDX-License-Identifier: Apache-2.0
"""Leader election by a Kubernetes Lease, with the official client's own election.

The client renews; this says for how long that is good. A call to the API server that hangs or fails does not keep
anyone leading: after RENEW_DEADLINE_S without an answer leads() is false, before any other may have the Lease.
"""

from __future__ import annotations

import importlib
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llmd_storage_connector.quiet import Quiet
from llmd_storage_evictor.errors import Misconfigured

logger = logging.getLogger(__name__)

# Another leads at most LEASE_S + RETRY_S after this one was killed: with the rest, within 15 s.
LEASE_S = 9
RENEW_DEADLINE_S = 6
RETRY_S = 2
_CALL_TIMEOUT_S = 3.0
_SAY_EVERY_S = 60.0
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class Alone:
    """Outside Kubernetes: the lock on the storage decides."""

    def start(self) -> None:
        """Nothing to start."""

    def leads(self) -> bool:
        """Always."""
        return True

    def alive(self) -> bool:
        """Always."""
        return True


class LeaseElection:
    """Stands for election until the process ends.

    Thread: start() once; leads() and alive() on any.

        field     | owner              | guarded by
        _renewed  | the election's     | a float, replaced whole
    """

    def __init__(
        self,
        name: str,
        namespace: str,
        identity: str,
        owner: str | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """owner: a ConfigMap with which the Lease goes; without it, once it is named, no Lease is made."""
        self._name, self._namespace, self._identity, self._owner = name, namespace, identity, owner
        self._clock = clock
        self._renewed = self._said = float("-inf")
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)

    def start(self) -> None:
        """Raises: Misconfigured without credentials for the cluster."""
        self._lock = self._connect()
        self._thread.start()

    def leads(self) -> bool:
        """Whether the Lease is certainly this process's now."""
        return self._clock() - self._renewed < RENEW_DEADLINE_S

    def alive(self) -> bool:
        """Whether the election goes on."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """End the election at its next step; the Lease runs out by itself."""
        self._ended.set()

    def _connect(self) -> Any:
        # The client's functions carry no types.
        kubernetes: Any = importlib.import_module("kubernetes")
        lease: Any = importlib.import_module("kubernetes.leaderelection.resourcelock.leaselock")

        try:
            if os.environ.get("KUBERNETES_SERVICE_HOST"):
                kubernetes.config.load_incluster_config()
            else:
                kubernetes.config.load_kube_config()
        except (kubernetes.config.ConfigException, OSError) as error:
            raise Misconfigured(
                f"leader election needs a cluster ({error}): run with leader_election false (--no-leader-election) "
                "outside Kubernetes"
            ) from error
        lock = lease.LeaseLock(self._name, self._namespace, self._identity)
        lock.api_instance = _TimedApi(lock.api_instance)
        if self._owner:
            core = _TimedApi(kubernetes.client.CoreV1Api())
            lock.api_instance = _OwnedApi(lock.api_instance, core, self._owner, self._name)
        return _watched(lock, self._note, self._ended)

    def _note(self, began: float) -> None:
        if not self.leads():
            logger.info("holds the Lease %s/%s as %s", self._namespace, self._name, self._identity)
        self._renewed = began

    def _run(self) -> None:
        election: Any = importlib.import_module("kubernetes.leaderelection.leaderelection")
        settings: Any = importlib.import_module("kubernetes.leaderelection.electionconfig")
        logging.getLogger("leaderelection").setLevel(logging.ERROR)  # it says every renewal
        while not self._ended.is_set():
            config = settings.Config(self._lock, LEASE_S, RENEW_DEADLINE_S, RETRY_S, lambda: None, lambda: None)
            try:
                election.LeaderElection(config).run()
                logger.warning("lost the Lease %s/%s", self._namespace, self._name)
            except _Ended:
                return
            except Exception as error:  # the client's own and urllib3's: no answer
                if self._clock() - self._said > _SAY_EVERY_S:
                    self._said = self._clock()
                    logger.warning("the Lease %s/%s: %s", self._namespace, self._name, error)
            self._ended.wait(RETRY_S)


class _Ended(Exception):
    """The way out of the client's loop, which has none."""


def _watched(
    lock: Any,
    note: Callable[[float], None],
    ended: threading.Event,
    clock: Callable[[], float] = time.monotonic,
) -> Any:
    """The lock, which tells of each renewal the moment before it was asked for, and raises _Ended after the end."""

    def telling(call: Callable[..., bool]) -> Callable[..., bool]:
        def told(*arguments: Any, **named: Any) -> bool:
            began = clock()
            done = call(*arguments, **named)
            if done:
                note(began)
            return done

        return told

    def ending(call: Callable[..., Any]) -> Callable[..., Any]:
        def asked(*arguments: Any, **named: Any) -> Any:
            if ended.is_set():
                raise _Ended
            return call(*arguments, **named)

        return asked

    make, quiet = lock.create, Quiet(logger)

    def create(*arguments: Any, **named: Any) -> bool:
        if make(*arguments, **named):
            return True
        quiet.log(logging.WARNING, "create", "the Lease is not there and cannot be made: may this account make it?")
        return False

    lock.get, lock.create, lock.update = ending(lock.get), telling(create), telling(lock.update)
    return lock


class _TimedApi:
    """The client's API with a time limit on every call, which it does not have of its own."""

    def __init__(self, api: Any) -> None:
        self._api = api

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self._api, name)
        return lambda *arguments, **named: call(*arguments, **named, _request_timeout=_CALL_TIMEOUT_S)


class _OwnedApi:
    """The client's API, whose Leases belong to a ConfigMap: they go with it, and none is made when it is gone."""

    def __init__(self, api: Any, core: Any, owner: str, name: str) -> None:
        self._api, self._core, self._owner, self._name = api, core, owner, name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._api, name)

    def create_namespaced_lease(self, namespace: str, body: Any) -> Any:
        """Raises: the client's ApiException."""
        found = self._core.read_namespaced_config_map(self._owner, namespace)
        owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": self._owner, "uid": found.metadata.uid}
        # The client makes it a dictionary or an object, from version to version.
        body.metadata = {"name": self._name, "ownerReferences": [owner]}
        return self._api.create_namespaced_lease(namespace, body)


def pod_namespace() -> str:
    """The namespace of this pod; "default" outside one."""
    try:
        return _NAMESPACE_FILE.read_text(encoding="utf-8").strip() or "default"
    except OSError:
        return "default"

# SPDX-License-Identifier: Apache-2.0
"""Leader election by a Kubernetes Lease, with the official client's election code.

The client renews the Lease; this module says for how long a renewal is good. When calls to the API server hang or fail,
leads() is false after RENEW_DEADLINE_S, before any other process may acquire the Lease.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llmd_storage_connector.telemetry.rate_limited_log import RateLimitedLog
from llmd_storage_core.kube_tls import accept_plain_cas
from llmd_storage_evictor.config import Config
from llmd_storage_evictor.errors import Misconfigured
from llmd_storage_evictor.leader.release_check import ReleaseCheck

logger = logging.getLogger(__name__)

# After a kill another process holds the Lease within LEASE_S + RETRY_S, and leads within 15 s.
LEASE_S = 9
RENEW_DEADLINE_S = 6
RETRY_S = 2
_CALL_TIMEOUT_S = 3.0
_LOG_EVERY_S = 60.0
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_CLUSTER_FILE = _NAMESPACE_FILE.with_name("ca.crt")


class NoElection:
    """Outside Kubernetes: the file lease on the storage decides alone."""

    def start(self) -> None:
        """Nothing to start."""

    def leads(self) -> bool:
        """Always."""
        return True

    def alive(self) -> bool:
        """Always."""
        return True

    def problem(self) -> str:
        """None."""
        return ""


class LeaseElection:
    """A candidate until the process ends.

    Thread: start() once; leads() and alive() on any.

        field     | owner              | guarded by
        _renewed  | the election's     | a float, replaced whole
        _problem  | the election's     | a string, replaced whole
    """

    def __init__(
        self,
        name: str,
        namespace: str,
        identity: str,
        owner: str | None = None,
        *,
        config: Config | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """owner: a ConfigMap that owns the Lease. When it is named but missing, no Lease is created.

        config: what the owner must say for this process to lead; None: anything.
        """
        self._name, self._namespace, self._identity, self._owner = name, namespace, identity, owner
        self._clock = clock
        self._renewed = self._logged_at = float("-inf")
        self._problem = ""
        self._config = config
        self._check: ReleaseCheck | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)

    def start(self) -> None:
        """Raises: Misconfigured without credentials for the cluster."""
        self._lock = self._connect()
        self._thread.start()

    def leads(self) -> bool:
        """Whether this process certainly holds the Lease now."""
        unwanted = self._check is not None and self._check.reason
        return not unwanted and self._clock() - self._renewed < RENEW_DEADLINE_S

    def alive(self) -> bool:
        """Whether the election thread runs."""
        return self._thread.is_alive()

    def problem(self) -> str:
        """Why this process may not lead, or what the API server last answered, if that was an error; else ""."""
        return (self._check.reason if self._check else "") or self._problem

    def stop(self) -> None:
        """End the election at its next call; the Lease expires by itself."""
        self._stopping.set()

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
        client = accept_plain_cas(lock.api_instance.api_client)
        lock.api_instance = _TimedApi(lock.api_instance)
        if self._owner:
            core = _TimedApi(kubernetes.client.CoreV1Api(client))
            lock.api_instance = _OwnedApi(lock.api_instance, core, self._owner, self._name)
            if self._config is not None:
                read = functools.partial(core.read_namespaced_config_map, self._owner, self._namespace)
                self._check = ReleaseCheck(self._config, read, self._clock)
        lock = _instrumented(lock, self._record_renewal, self._stopping)
        return _while_wanted(lock, self._check) if self._check else lock

    def _record_renewal(self, began: float) -> None:
        if not self.leads():
            logger.info("holds the Lease %s/%s as %s", self._namespace, self._name, self._identity)
        self._renewed, self._problem = began, ""

    def _run(self) -> None:
        election: Any = importlib.import_module("kubernetes.leaderelection.leaderelection")
        settings: Any = importlib.import_module("kubernetes.leaderelection.electionconfig")
        logging.getLogger("leaderelection").setLevel(logging.ERROR)  # it logs every renewal
        while not self._stopping.is_set():
            config = settings.Config(self._lock, LEASE_S, RENEW_DEADLINE_S, RETRY_S, lambda: None, lambda: None)
            try:
                election.LeaderElection(config).run()
                logger.warning("lost the Lease %s/%s", self._namespace, self._name)
            except _Stopped:
                return
            except Exception as error:  # the client's and urllib3's errors
                self._problem = f"the Lease {self._namespace}/{self._name}: {error}"
                if self._clock() - self._logged_at > _LOG_EVERY_S:
                    self._logged_at = self._clock()
                    logger.warning("the Lease %s/%s: %s", self._namespace, self._name, error)
            self._stopping.wait(RETRY_S)


class _Stopped(Exception):
    """Leaves the client's loop, which has no other way out."""


def _instrumented(
    lock: Any,
    on_renewal: Callable[[float], None],
    stopping: threading.Event,
    clock: Callable[[], float] = time.monotonic,
) -> Any:
    """The lock, calling on_renewal(time before the call) after each renewal, and raising _Stopped after stop()."""

    def recording(call: Callable[..., bool]) -> Callable[..., bool]:
        def recorded(*arguments: Any, **named: Any) -> bool:
            began = clock()
            done = call(*arguments, **named)
            if done:
                on_renewal(began)
            return done

        return recorded

    def until_stopped(call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any, **named: Any) -> Any:
            if stopping.is_set():
                raise _Stopped
            return call(*arguments, **named)

        return called

    create_lease, log = lock.create, RateLimitedLog(logger)

    def create(*arguments: Any, **named: Any) -> bool:
        if create_lease(*arguments, **named):
            return True
        log.log(
            logging.WARNING,
            "create",
            "the Lease does not exist and cannot be created: does this service account have the right to?",
        )
        return False

    lock.get, lock.create, lock.update = until_stopped(lock.get), recording(create), recording(lock.update)
    return lock


def _while_wanted(lock: Any, check: ReleaseCheck) -> Any:
    """The lock, which neither creates nor renews the Lease while the release does not want this process."""

    def guarded(call: Callable[..., bool]) -> Callable[..., bool]:
        def called(*arguments: Any, **named: Any) -> bool:
            done = not check.reason and call(*arguments, **named)
            check.look()  # afterwards: a slow answer must not keep the Lease from being renewed
            return done

        return called

    lock.create, lock.update = guarded(lock.create), guarded(lock.update)
    return lock


class _TimedApi:
    """The client's API with a timeout on every call; the client sets none."""

    def __init__(self, api: Any) -> None:
        self._api = api

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self._api, name)
        return lambda *arguments, **named: call(*arguments, **named, _request_timeout=_CALL_TIMEOUT_S)


class _OwnedApi:
    """The client's API, creating Leases that a ConfigMap owns. They go with it; none is created when it is gone."""

    def __init__(self, api: Any, core: Any, owner: str, name: str) -> None:
        self._api, self._core, self._owner, self._name = api, core, owner, name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._api, name)

    def create_namespaced_lease(self, namespace: str, body: Any) -> Any:
        """Raises: the client's ApiException."""
        found = self._core.read_namespaced_config_map(self._owner, namespace)
        owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": self._owner, "uid": found.metadata.uid}
        # A dictionary or an object, depending on the client's version.
        body.metadata = {"name": self._name, "ownerReferences": [owner]}
        return self._api.create_namespaced_lease(namespace, body)


def pod_namespace() -> str:
    """The namespace of this pod; "default" outside one."""
    try:
        return _NAMESPACE_FILE.read_text(encoding="utf-8").strip() or "default"
    except OSError:
        return "default"


def cluster() -> str:
    """Eight digits that differ between clusters, by the authority of their API servers; "" outside one."""
    try:
        return hashlib.sha256(_CLUSTER_FILE.read_bytes()).hexdigest()[:8]
    except OSError:
        return ""

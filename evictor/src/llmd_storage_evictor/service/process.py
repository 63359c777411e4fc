# SPDX-License-Identifier: Apache-2.0
"""The evictor as one process.

thread      | does                                               | may hang with the storage
main        | signals, watches the others, ends the process      | no
controller  | the control loop, while this process leads         | yes
file-lease  | renews or watches the lease file on the storage    | yes
lease       | the Kubernetes Lease                               | no
http        | /metrics, /healthz                                 | no
pool        | lists and removes, for the controller              | yes
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from llmd_storage_connector.telemetry.rate_limited_log import RateLimitedLog
from llmd_storage_evictor.cache.directory import CacheDirectory
from llmd_storage_evictor.cache.shared_rules import release_name
from llmd_storage_evictor.config import Config
from llmd_storage_evictor.controller.context import Context
from llmd_storage_evictor.controller.controller import Controller
from llmd_storage_evictor.controller.liveness import Liveness
from llmd_storage_evictor.controller.metrics import Metrics, errno_label
from llmd_storage_evictor.controller.troubles import PASS_KINDS, Troubles, explain
from llmd_storage_evictor.errors import LeadershipLost, NotFound, Unavailable
from llmd_storage_evictor.layouts import LAYOUTS
from llmd_storage_evictor.leader.file_lease import RENEW_INTERVAL_S, FileLease
from llmd_storage_evictor.leader.lease import LeaseElection, NoElection, cluster, pod_namespace
from llmd_storage_evictor.service.lease_keeper import LeaseKeeper
from llmd_storage_evictor.service.server import serve

logger = logging.getLogger(__name__)

_RETRY_S = 5.0
_SHUTDOWN_S = 10.0  # Kubernetes' default grace period is 30 s
_LOG_PROBLEM_EVERY_S = 60.0
_IDLE_S = 0.2  # between two looks whether this process leads


class EvictorProcess:
    """The threads, and the objects they share.

    Thread: each method says whose it is. Shared fields are events, or objects that lock for themselves.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._stopping = threading.Event()
        pod = os.environ.get("POD_NAME")
        identity = f"{pod or socket.gethostname()}_{os.getpid()}"
        self._election: NoElection | LeaseElection = NoElection()
        if config.leader_election:
            namespace = config.lease_namespace or pod_namespace()
            self._election = LeaseElection(config.lease_name, namespace, identity, config.lease_owner, config=config)
        self._release = release_name(config, cluster())
        of = LAYOUTS.get(config.layout)
        self._directory, lease_directory = CacheDirectory(config.root_dir, of), CacheDirectory(config.root_dir, of)
        self._file_lease = FileLease(lease_directory, identity, unique_holder=bool(pod))
        self._metrics = Metrics()
        # Evaluated at each scrape: the thread that renews the file lease may hang with the storage.
        self._metrics.leader.set_function(lambda: float(self._file_lease.held() and self._election.leads()))
        self._liveness = Liveness(config.stall_s)
        self._lease_liveness = Liveness(config.stall_s)
        self._troubles = Troubles()
        self._keeper = LeaseKeeper(
            lease_directory, self._file_lease, self._election, self._lease_liveness, self._troubles, config=config,
            release=self._release,
        )  # fmt: skip
        self._log = RateLimitedLog(logger)

    def run(self) -> None:
        """Until SIGTERM or SIGINT. Main thread. Raises: Misconfigured, OSError when the port is taken."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stopping.set())
        self._election.start()
        if self._config.http_port:
            serve(self._config.http_port, self._metrics, self.stuck, self.problem, lambda: self._troubles.remark)
        controller = threading.Thread(target=self._control, name="controller", daemon=True)
        controller.start()
        if not self._config.dry_run:  # it writes nothing, so it needs no lease
            arguments = (self._stopping, lambda: self._liveness.activity == "ended")
            threading.Thread(target=self._keeper.run, args=arguments, name="file-lease", daemon=True).start()
        logged_at = 0.0
        while not self._stopping.wait(1.0):
            if (problem := self.problem()) and time.monotonic() - logged_at > _LOG_PROBLEM_EVERY_S:
                logged_at = time.monotonic()
                logger.error(problem)
        logger.info("stopping")
        controller.join(_SHUTDOWN_S)
        if not self._config.dry_run:
            self._keeper.released.wait(RENEW_INTERVAL_S + 1.0)

    def problem(self) -> str:
        """Why the budget does not hold; "" when it does, or is being reached. Any thread."""
        return self.stuck() or self._troubles.lasting(self._config.stall_s)

    def stuck(self) -> str:
        """Why this process does not go on; "" when it does. Any thread."""
        for liveness in (self._liveness, self._lease_liveness)[: 1 if self._config.dry_run else 2]:
            if liveness.stalled():
                return f"no progress for {liveness.age_s():.0f} s while {liveness.activity}: storage does not answer"
        return "" if self._election.alive() else "leader election has ended"

    def may_remove(self) -> bool:
        """Whether this process certainly leads. Any thread; called before each file."""
        if self._config.dry_run:
            return False
        return self._file_lease.held() and self._election.leads() and not self._stopping.is_set()

    def _control(self) -> None:
        """Controller thread."""
        with ThreadPoolExecutor(self._config.io_threads, thread_name_prefix="io") as pool:
            context = Context(
                self._directory, pool, self.may_remove, self._metrics, self._liveness, self._troubles, self._release
            )
            while not self._stopping.is_set():
                if not (self._config.dry_run or self.may_remove()):
                    self._liveness.update("waiting to lead")
                    self._troubles.clear(*PASS_KINDS)  # the leader's to say
                    self._stopping.wait(_IDLE_S)
                    continue
                try:
                    self._lead(Controller(self._config, context))
                except LeadershipLost as error:
                    logger.warning("%s", error)
                except NotFound as error:
                    self._liveness.update("waiting for the cache directory")
                    self._log.log(logging.INFO, "not found", "%s", error)
                    self._stopping.wait(_RETRY_S)
                except (OSError, Unavailable) as error:
                    self._troubles.note("pass", f"no pass over the cache comes to its end: {explain(error)}")
                    label = errno_label(error) if isinstance(error, OSError) else "unavailable"
                    self._metrics.storage_errors.labels(label).inc()
                    logger.warning("storage: %s; trying again in %g s", error, _RETRY_S)
                    self._liveness.update("waiting after a storage error")
                    self._stopping.wait(_RETRY_S)
                except Exception as error:
                    self._troubles.note("pass", f"no pass over the cache comes to its end: {error!r}")
                    logger.exception("unexpected error; trying again in %g s", _RETRY_S)
                    self._stopping.wait(_RETRY_S)
        self._liveness.update("ended")

    def _lead(self, controller: Controller) -> None:
        """Controller thread. Returns when the process stops, or another may lead."""
        self._directory.open()
        controller.open()
        try:
            while (self._config.dry_run or self.may_remove()) and not controller.outdated:
                until = time.monotonic() + controller.reconcile()
                while time.monotonic() < until and not self._stopping.is_set():
                    self._liveness.update()
                    if controller.update_grants():
                        break
                    self._stopping.wait(min(controller.grants_interval_s, max(0.0, until - time.monotonic())))
        finally:
            self._metrics.clear()
        if self._file_lease.held():
            controller.close()


def run(config: Config) -> None:
    """Run until a signal, then end at once: a thread that hangs in a dead filesystem must not block the exit."""
    try:
        EvictorProcess(config).run()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    logging.shutdown()
    os._exit(0)

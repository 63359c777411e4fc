# SPDX-License-Identifier: Apache-2.0
"""The evictor as one process.

thread      | does                                               | may hang with the storage
main        | signals, watches the others, ends the process      | no
controller  | rounds, while this process leads                   | yes
fence       | refreshes or watches the lock on the storage       | yes
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

from llmd_storage_connector.quiet import Quiet
from llmd_storage_evictor.cache.directory import CacheDirectory
from llmd_storage_evictor.config import Config
from llmd_storage_evictor.controller.context import Context
from llmd_storage_evictor.controller.controller import Controller
from llmd_storage_evictor.controller.liveness import Liveness
from llmd_storage_evictor.controller.metrics import Metrics, errno_label
from llmd_storage_evictor.errors import LeadershipLost, NotFound, Unavailable
from llmd_storage_evictor.leader.file_lease import HEARTBEAT_S, Fence
from llmd_storage_evictor.leader.lease import Alone, LeaseElection, pod_namespace
from llmd_storage_evictor.service.server import serve

logger = logging.getLogger(__name__)

_RETRY_S = 5.0
_GRACE_S = 10.0  # Kubernetes gives thirty
_SAY_EVERY_S = 60.0
_IDLE_S = 0.2


class Process:
    """The threads, and what they share.

    Thread: each method says whose it is; shared fields are events, or objects that lock for themselves.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._ending = threading.Event()
        pod = os.environ.get("POD_NAME")
        identity = f"{pod or socket.gethostname()}_{os.getpid()}"
        self._election: Alone | LeaseElection = Alone()
        if config.leader_election:
            space = config.lease_namespace or pod_namespace()
            self._election = LeaseElection(config.lease_name, space, identity, config.lease_owner)
        self._directory, self._lease_directory = CacheDirectory(config.root_dir), CacheDirectory(config.root_dir)
        self._fence = Fence(self._lease_directory, identity, alone=bool(pod))
        self._metrics = Metrics()
        # Asked for at each scrape: the thread that keeps the lock may hang with the storage.
        self._metrics.leader.set_function(lambda: float(self._fence.held() and self._election.leads()))
        self._liveness = Liveness(config.stall_s)
        self._lease_liveness = Liveness(config.stall_s)
        self._fence_ended = threading.Event()
        self._quiet = Quiet(logger)

    def run(self) -> None:
        """Until SIGTERM or SIGINT. Main thread. Raises: Misconfigured, OSError for a port that is taken."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._ending.set())
        self._election.start()
        if self._config.http_port:
            serve(self._config.http_port, self._metrics, self.fault)
        controller = threading.Thread(target=self._control, name="controller", daemon=True)
        controller.start()
        threading.Thread(target=self._keep_fence, name="fence", daemon=True).start()
        said = 0.0
        while not self._ending.wait(1.0):
            if (fault := self.fault()) and time.monotonic() - said > _SAY_EVERY_S:
                said = time.monotonic()
                logger.error(fault)
        logger.info("told to end")
        controller.join(_GRACE_S)
        self._fence_ended.wait(HEARTBEAT_S + 1.0)

    def fault(self) -> str:
        """Why this process is not healthy; "" when it is. Any thread."""
        for progress in (self._liveness, self._lease_liveness):
            if progress.stalled():
                return f"no progress for {progress.age_s():.0f} s while {progress.activity}: storage does not answer"
        return "" if self._election.alive() else "leader election has ended"

    def may_remove(self) -> bool:
        """Whether this process certainly leads. Any thread; asked before each file."""
        if self._config.dry_run:
            return False
        return self._fence.held() and self._election.leads() and not self._ending.is_set()

    def _keep_fence(self) -> None:
        """Fence thread: in a dry run nothing is written, so there is nothing to hold."""
        opened, root = False, self._config.root_dir
        while not (self._ending.is_set() and self._liveness.activity == "ended"):
            try:
                self._lease_liveness.update("keeping the lock on the storage")
                if not opened:
                    self._lease_directory.open()
                    opened = True
                if not self._config.dry_run:
                    self._fence.step(wants=self._election.leads())
            except NotFound:
                self._quiet.log(logging.INFO, "not there", "nothing to keep yet: %s is made by the first engine", root)
                opened = False
            except (OSError, Unavailable) as error:
                self._quiet.log(logging.WARNING, "sick", "the lock on the storage: %s", error)
                opened = False
            self._lease_liveness.update()
            time.sleep(HEARTBEAT_S if not self._ending.is_set() else _IDLE_S)
        try:
            self._fence.release()
        except OSError as error:
            logger.warning("the lock on the storage: %s", error)
        self._fence_ended.set()

    def _control(self) -> None:
        """Controller thread."""
        with ThreadPoolExecutor(self._config.io_threads, thread_name_prefix="io") as pool:
            context = Context(self._directory, pool, self.may_remove, self._metrics, self._liveness)
            while not self._ending.is_set():
                if not (self._config.dry_run or self.may_remove()):
                    self._liveness.update("waiting to lead")
                    self._ending.wait(_IDLE_S)
                    continue
                try:
                    self._lead(Controller(self._config, context))
                except LeadershipLost as error:
                    logger.warning("%s", error)
                except (OSError, Unavailable) as error:
                    self._metrics.storage_errors.labels(
                        errno_label(error) if isinstance(error, OSError) else "unusable"
                    ).inc()
                    logger.warning("storage: %s; trying again in %g s", error, _RETRY_S)
                    self._liveness.update("waiting after an error of the storage")
                    self._ending.wait(_RETRY_S)
                except Exception:
                    logger.exception("a round failed in an unforeseen way; trying again in %g s", _RETRY_S)
                    self._ending.wait(_RETRY_S)
        self._liveness.update("ended")

    def _lead(self, controller: Controller) -> None:
        """Controller thread. Returns when told to end, or when another may lead."""
        self._directory.open()
        controller.open()
        try:
            while self._config.dry_run or self.may_remove():
                until = time.monotonic() + controller.reconcile()
                while time.monotonic() < until and not self._ending.is_set():
                    self._liveness.update()
                    if controller.update_grants():
                        break
                    self._ending.wait(min(controller.grants_interval_s, max(0.0, until - time.monotonic())))
        finally:
            self._metrics.clear()
        if self._ending.is_set() and self._fence.held():
            controller.close()


def run(config: Config) -> None:
    """Run until told to end, then end at once: a thread that hangs in a dead filesystem must not hold the process."""
    try:
        Process(config).run()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    logging.shutdown()
    os._exit(0)

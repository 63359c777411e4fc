# SPDX-License-Identifier: Apache-2.0
"""The thread that keeps the file lease, and notices when nobody does."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from llmd_storage_connector.telemetry.rate_limited_log import RateLimitedLog
from llmd_storage_evictor.cache import shared_rules
from llmd_storage_evictor.cache.directory import CacheDirectory
from llmd_storage_evictor.config import Config
from llmd_storage_evictor.controller.liveness import Liveness
from llmd_storage_evictor.controller.troubles import Troubles, explain
from llmd_storage_evictor.errors import NotFound, Unavailable
from llmd_storage_evictor.leader.file_lease import RENEW_INTERVAL_S, FileLease
from llmd_storage_evictor.leader.lease import LeaseElection, NoElection

logger = logging.getLogger(__name__)

_ENDING_S = 0.2


class LeaseKeeper:
    """Thread: run() and step() on one; released is an event.

    directory: for this thread alone, since it may close and open it again.
    """

    def __init__(
        self,
        directory: CacheDirectory,
        file_lease: FileLease,
        election: NoElection | LeaseElection,
        liveness: Liveness,
        troubles: Troubles,
        *,
        config: Config,
        release: str,
    ) -> None:
        self._directory, self._file_lease, self._election = directory, file_lease, election
        self._liveness, self._troubles = liveness, troubles
        self._log = RateLimitedLog(logger)
        self._config, self._release = config, release
        self._opened = False
        self._rules_written_at = float("-inf")
        self.released = threading.Event()

    def run(self, stopping: threading.Event, ended: Callable[[], bool]) -> None:
        """Until `stopping` is set and ended() is true; then the lease is released."""
        while not (stopping.is_set() and ended()):
            self.step()
            time.sleep(RENEW_INTERVAL_S if not stopping.is_set() else _ENDING_S)
        try:
            self._file_lease.release()
        except OSError as error:
            logger.warning("the file lease on the storage: %s", error)
        self.released.set()

    def step(self) -> None:
        """Renew, watch or acquire the lease once."""
        self._liveness.update("renewing the file lease")
        why = ""
        try:
            if not self._opened:
                self._directory.open()
                self._opened = True
            self._file_lease.try_acquire_or_renew(candidate=self._election.leads())
        except NotFound:
            text = "%s does not exist yet: the first engine creates it"
            self._log.log(logging.INFO, "not found", text, self._directory.root)
            self._opened = False
            self._troubles.clear("leader")
            self._liveness.update()
            return
        except (OSError, Unavailable) as error:
            why = f"the file lease on the storage: {explain(error)}"
            self._log.log(logging.WARNING, "file lease", "%s", why)
            self._opened = False
        self._publish_rules()
        self._liveness.update()
        if self._file_lease.someone_leads():
            self._troubles.clear("leader")
        else:
            self._troubles.note("leader", f"nobody keeps the cache within its budget: {why or self._why_not()}")

    def _publish_rules(self) -> None:
        """Whoever leads keeps to them, so one that waits says them too."""
        if not self._opened or time.monotonic() - self._rules_written_at < shared_rules.WRITE_EVERY_S:
            return
        try:
            shared_rules.save(self._directory, self._config, self._release)
            self._rules_written_at = time.monotonic()
        except OSError as error:
            text = "what this release protects cannot be written down for others that keep the same cache: %s"
            self._log.log(logging.WARNING, "rules", text, error)

    def _why_not(self) -> str:
        if not self._election.leads():
            return self._election.problem() or "another process holds the Kubernetes Lease, but not the file lease"
        return "the file lease is another's, who does not renew it"

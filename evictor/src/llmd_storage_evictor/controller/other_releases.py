# SPDX-License-Identifier: Apache-2.0
"""What other releases say of the same cache: their budgets, pins and minimums."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from llmd_storage_connector.telemetry.rate_limited_log import RateLimitedLog
from llmd_storage_evictor.cache import shared_rules
from llmd_storage_evictor.cache.directory import CacheDirectory
from llmd_storage_evictor.cache.shared_rules import Statement
from llmd_storage_evictor.config import NamespaceRule

logger = logging.getLogger(__name__)

_READ_EVERY_S = 60.0


class OtherReleases:
    """Reads them once a minute; while that fails, what was read before holds. Thread: one."""

    def __init__(
        self,
        directory: CacheDirectory,
        release: str,
        log: RateLimitedLog,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
    ) -> None:
        self._directory, self._release, self._log = directory, release, log
        self._clock, self._wall_clock = clock, wall_clock
        self._read: Mapping[str, Statement] = {}
        self._read_at = float("-inf")

    def refresh(self) -> None:
        """Read what they say, if that is due. Never raises OSError."""
        if self._clock() - self._read_at < _READ_EVERY_S:
            return
        try:
            found = shared_rules.load_others(self._directory, self._release, self._wall_clock())
        except OSError as error:
            text = "the rules of other releases on this cache cannot be read: %s"
            self._log.log(logging.WARNING, "other rules", text, error)
            return
        if found.keys() - self._read.keys():
            logger.info("keeping to the pins and minimums of %s as well", ", ".join(sorted(found)))
        self._read, self._read_at = found, self._clock()

    def rules(self) -> Sequence[Sequence[NamespaceRule]]:
        """The rules of each."""
        return [one.rules for one in self._read.values()]

    def smallest_budget(self, own_bytes: int) -> tuple[int, str]:
        """The smallest budget that any release states, and whose it is; "" when it is this release's own."""
        stated = [
            (one.budget_bytes, name.removesuffix(".json")) for name, one in self._read.items() if one.budget_bytes
        ]
        return min([(own_bytes, ""), *stated])

# SPDX-License-Identifier: Apache-2.0
"""What the leader writes down after a pass: the checkpoint, and how often readers refresh times of use."""

from __future__ import annotations

import errno
import logging

from llmd_storage_connector.telemetry.rate_limited_log import RateLimitedLog
from llmd_storage_evictor.cache import checkpoint, state_files
from llmd_storage_evictor.config import Config
from llmd_storage_evictor.controller.context import Context
from llmd_storage_evictor.core import policy
from llmd_storage_evictor.core.index import Index
from llmd_storage_evictor.core.policy import NS


class SavedState:
    """Thread: one (the controller's)."""

    def __init__(self, config: Config, context: Context, index: Index, log: RateLimitedLog) -> None:
        self._config, self._context, self._index, self._log = config, context, index, log
        self._clock = context.clock
        self._checkpoint_at = self._clock()
        self._published_touch_s = 0.0

    def save(self) -> None:
        """What is due. The loop goes on when the disk is too full for it. Raises: OSError."""
        if self._config.dry_run or not self._context.may_remove():
            return
        try:
            self._publish_touch_interval()
            if self._clock() - self._checkpoint_at > self._config.checkpoint_s:
                self._checkpoint_at = self._clock()
                checkpoint.save(self._context.directory, self._index)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            self._log.log(logging.WARNING, "state", "checkpoint and touch interval cannot be written: %s", error)

    def _publish_touch_interval(self) -> None:
        usage = self._index.usage()
        oldest_ns = min((held.oldest_ns for held in usage.values() if held.files), default=0)
        # A cache that is less than half full evicts nothing soon: mtimes matter little.
        filling = self._index.held_bytes() > self._config.effective_budget_bytes / 2
        age_s = self._context.wall_clock() - oldest_ns / NS if filling and oldest_ns else float("inf")
        touch_s = policy.touch_after_s(self._config, age_s)
        if self._published_touch_s and 0.8 < touch_s / self._published_touch_s < 1.25:
            return
        state_files.save_touch_interval(self._context.directory, touch_s)
        self._published_touch_s = touch_s

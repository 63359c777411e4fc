# SPDX-License-Identifier: Apache-2.0
"""New limits remove nothing before it was said what will go, and not most of the cache unless that is allowed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Sequence

from llmd_storage_evictor.cache import state_files
from llmd_storage_evictor.cache.state_files import LimitsState
from llmd_storage_evictor.config import Config
from llmd_storage_evictor.controller.context import Context
from llmd_storage_evictor.core.index import Index
from llmd_storage_evictor.core.policy import NS, EvictionTask, Reason
from llmd_storage_evictor.sizes import show_bytes, show_seconds

logger = logging.getLogger(__name__)

# What follows from configured limits. Floors protect the filesystem, and what is damaged serves nobody.
_LIMITS = {Reason.BUDGET, Reason.QUOTA, Reason.TTL}
_MOST = 0.5  # share of the cache that new limits may remove without being allowed to


class RemovalGate:
    """Whether limits may remove blocks. Which were accepted is kept beside the cache, for every leader. Thread: one.

    blocked: why they never will, as things are; "" when they may, or will after the grace.
    """

    def __init__(self, config: Config, context: Context, index: Index) -> None:
        self._config, self._context, self._index = config, context, index
        self._limits = _digest(config)
        self._state = LimitsState()
        self._said = ""
        self.blocked = ""

    def open(self) -> None:
        """Load what was accepted. Raises: OSError."""
        self._state = state_files.load_limits_state(self._context.directory)

    @property
    def waiting(self) -> bool:
        """Whether limits do not remove yet."""
        return self._state.accepted != self._limits and not self._config.dry_run

    def allowed(self, tasks: Sequence[EvictionTask]) -> list[EvictionTask]:
        """Those of a pass's first tasks that may remove now."""
        self.blocked = ""
        wanted = [task for task in tasks if task.reason in _LIMITS]
        if self.waiting and not (wanted and self._holds_back(wanted)):
            self._save(LimitsState(accepted=self._limits))
        return [task for task in tasks if not self.waiting or task.reason not in _LIMITS]

    def _holds_back(self, wanted: Sequence[EvictionTask]) -> bool:
        held, now = self._index.held_bytes(), self._context.wall_clock()
        sizes = {task.name: self._size(task, now) for task in wanted}
        size = min(held, sum(sizes.values()))
        what = ", ".join(
            f"{show_bytes(one)} ({reason}{f' of {name}' if name else ''})"
            for (reason, name), one in sizes.items()
            if one
        )
        if size > held * _MOST and not self._config.allow_large_removal:
            self.blocked = (
                f"new limits would remove {show_bytes(size)} of the {show_bytes(held)} that the cache holds: {what}; "
                "nothing goes for them until they are changed, or allow_large_removal is true"
            )
            self._say("blocked", self.blocked)
            return True
        if self._state.announced != self._limits:
            self._save(LimitsState(self._state.accepted, self._limits, now))
        left_s = self._state.since + self._config.grace_s - now
        if left_s > 0:
            self._say(
                "grace",
                f"new limits will remove {show_bytes(size)} of the {show_bytes(held)} that the cache holds: {what}; "
                f"it begins in {show_seconds(left_s)} (grace_s), unless they are changed",
            )
        return left_s > 0

    def _size(self, task: EvictionTask, now: float) -> int:
        if task.need_bytes is not None:
            return task.need_bytes
        return self._index.bytes_before(task.namespaces, int((now - task.older_than_s) * NS))

    def _say(self, kind: str, text: str) -> None:
        if kind != self._said:
            self._said = kind
            logger.warning("%s", text)

    def _save(self, state: LimitsState) -> None:
        self._state = state
        if not self._config.dry_run and self._context.may_remove():
            try:
                state_files.save_limits_state(self._context.directory, state)
            except OSError as error:  # a full disk: the next leader waits once more
                logger.warning("the accepted limits cannot be written: %s", error)


def _digest(config: Config) -> str:
    limits = [config.effective_budget_bytes, config.ttl_s, [dataclasses.asdict(rule) for rule in config.namespaces]]
    return hashlib.sha256(json.dumps(limits, sort_keys=True).encode()).hexdigest()[:32]

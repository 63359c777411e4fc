# SPDX-License-Identifier: Apache-2.0
"""The control loop: scan, decide, remove, publish. Runs only while this process leads."""

from __future__ import annotations

import logging
from dataclasses import replace

from llmd_storage_connector.telemetry.rate_limited_log import RateLimitedLog
from llmd_storage_evictor.cache import checkpoint
from llmd_storage_evictor.cache.engine_reports import EngineReports
from llmd_storage_evictor.cache.scanner import Scanner, ScanResult
from llmd_storage_evictor.cache.storage_clock import StorageClock
from llmd_storage_evictor.config import Config, NamespaceRule
from llmd_storage_evictor.controller import remarks
from llmd_storage_evictor.controller.context import Context
from llmd_storage_evictor.controller.eviction import BlockEvictor
from llmd_storage_evictor.controller.housekeeping import remove_leftovers
from llmd_storage_evictor.controller.metrics import errno_label
from llmd_storage_evictor.controller.other_releases import OtherReleases
from llmd_storage_evictor.controller.removal_gate import RemovalGate
from llmd_storage_evictor.controller.rules import NamespaceRules
from llmd_storage_evictor.controller.saved_state import SavedState
from llmd_storage_evictor.controller.troubles import note_pass
from llmd_storage_evictor.controller.write_grants import WriteGrants
from llmd_storage_evictor.core import policy
from llmd_storage_evictor.core.policy import NS, Reason
from llmd_storage_evictor.core.scan_timer import ScanTimer

logger = logging.getLogger(__name__)

_REMOVE_S = 5.0  # spent removing, at least as long as the scan took, before the cache is scanned again
_HOUSEKEEPING_EVERY_S = 60.0
_MIN_GAIN = 0.01  # share of the budget that a reconcile for waiting engines must be able to free


class Controller:
    """Thread: one. After LeadershipLost or an OSError it is discarded; a new one starts from the checkpoint."""

    def __init__(self, config: Config, context: Context) -> None:
        def storage_time() -> float:  # a dry run writes nothing
            return given.wall_clock() if config.dry_run else given.storage_time(given.directory)

        given = context
        self._time = StorageClock(storage_time, clock=given.clock, wall_clock=given.wall_clock)
        self._stated, self._context = config, (context := replace(given, wall_clock=self._time.now))
        self._directory, self._metrics, self._clock = context.directory, context.metrics, context.clock
        self._log = RateLimitedLog(logger, clock=context.clock)
        self._others = OtherReleases(context.directory, context.release, self._log, context.clock, context.wall_clock)
        self._rules: dict[str, NamespaceRule] = {}
        self._last_freed = True
        self._housekeeping_at = float("-inf")
        self._in_progress: set[tuple[Reason, str]] = set()

    def open(self) -> None:
        """Load what the last leader knew, and by which budget to go. Raises: OSError."""
        context = self._context
        context.liveness.update("reading the checkpoint")
        self.index = checkpoint.load(self._directory)
        engines = EngineReports(context.directory, context.may_remove, context.clock)
        engines.read()
        self._time.sync(engines.engine_time())
        self._others.refresh()
        budget, whose = self._others.smallest_budget(self._stated.effective_budget_bytes)
        context.troubles.remark = remarks.others_budget(self._stated.effective_budget_bytes, budget, whose)
        if context.troubles.remark:
            logger.warning("%s", context.troubles.remark)
        config = self._config = replace(self._stated, budget_bytes=budget)
        self._namespace_rules = NamespaceRules(config, context.directory, self._others, self._log, context.clock)
        self._timer, self._grants = ScanTimer(config), WriteGrants(config, context, engines, self._log)
        self._evictor = BlockEvictor(config, context, self.index, self._log)
        self._state = SavedState(config, context, self.index, self._log)
        self._gate = RemovalGate(config, context, self.index)
        self._gate.open()
        self._grants.open()
        self._scanner = Scanner(
            self._directory,
            self.index,
            context.pool,
            relist_s=config.relist_s,
            rescan_s=config.rescan_s,
            ops_s=config.metadata_ops_s,
            on_progress=context.liveness.update,
            clock=self._clock,
            wall_clock=context.wall_clock,
        )

    @property
    def outdated(self) -> bool:
        """Whether another budget counts by now: then a new controller goes on."""
        agreed, _ = self._others.smallest_budget(self._stated.effective_budget_bytes)
        return agreed != self._config.effective_budget_bytes

    def reconcile(self) -> float:
        """Scan once, and bring the cache within its limits.

        Returns: seconds until the next call. Raises: OSError when storage fails, LeadershipLost.
        """
        began, cpu_began = self._clock(), self._context.cpu_clock()
        scanned = self._scan()
        scan_s, cpu_s = self._clock() - began, self._context.cpu_clock() - cpu_began
        self._metrics.last_scan_duration.set(scan_s)
        self._rules = self._namespace_rules.of(self.index)
        held_before = self.index.held_bytes()
        if self._grants.has_shortage or self._timer.should_remove(began, held_before + self._grants.unlisted_bytes):
            self._in_progress.add((Reason.BUDGET, ""))
        self._context.liveness.update("removing")
        try:
            done = self._evict(began, self._clock())
            if self._clock() - self._housekeeping_at > _HOUSEKEEPING_EVERY_S:
                self._housekeeping_at = self._clock()
                if not self._config.dry_run:
                    # Limits that are not accepted yet may bring a pin too late.
                    unused, rescan = not self._gate.waiting, self._scanner.rescan
                    remove_leftovers(self._evictor, self._rules, scanned.scratch, unused=unused, rescan=rescan)
        finally:
            self._evictor.log_removed()
        self._update_metrics()
        self._note_troubles(scanned, acted=self.index.held_bytes() < held_before)
        self._state.save()
        self._context.liveness.update("waiting for the next scan")
        if not done:
            return 0.0
        held_after, unlisted = self.index.held_bytes(), self._grants.unlisted_bytes
        self._last_freed = held_after < held_before
        remarks.small_budget(self._log, self._timer, self._config.effective_budget_bytes)
        return self._timer.wait_s(
            began=began,
            scan_s=scan_s,
            cpu_s=cpu_s,
            held_before=held_before + unlisted,
            held_after=held_after + unlisted,
            free_bytes=self._evictor.floors.reported_bytes(),
            paid_s=self._scanner.plan.wait_s(),
            reported=self._grants.reported,
            looked=scanned.ops > 0,
        )

    def update_grants(self) -> bool:
        """Publish how much engines may write; called between two reconciles.

        Returns: whether to reconcile at once. Raises: OSError.
        """
        if self._config.dry_run or not self._context.may_remove():
            return False
        config, held = self._config, self._grants.update(self.index.held_bytes())
        # Pinned blocks do not go, however often one reconciles.
        if held > config.effective_budget_bytes * config.high_watermark:
            return self._last_freed or held > self.index.held_bytes()
        wanted = self._grants.reserved_bytes() - config.effective_budget_bytes * _MIN_GAIN
        return self._grants.has_shortage and self._last_freed and held > config.effective_budget_bytes - wanted

    @property
    def grants_interval_s(self) -> float:
        """Seconds until the next update_grants()."""
        return self._grants.interval_s

    def close(self) -> None:
        """Save a checkpoint for the next leader. Requires: this process holds the file lease. Raises: OSError."""
        if not self._stated.dry_run:
            checkpoint.save(self._directory, self.index)

    def _scan(self) -> ScanResult:
        self._context.liveness.update("scanning for changes")
        self._grants.before_scan()
        self._time.sync(self._grants.engine_time())
        self._metrics.clock_offset.set(self._time.offset_s)
        scanned = self._scanner.scan(urgent=self._timer.urgent)
        self._grants.after_scan(began=scanned.began, whole=scanned.whole)
        self._metrics.metadata_ops.inc(scanned.ops)
        for place, error in scanned.failed:
            self._metrics.storage_errors.labels(errno_label(error)).inc()
            self._warn("scan", "%s cannot be read: %s", place, error)
        return scanned

    def _evict(self, began: float, scanned_at: float) -> bool:
        """One task after the other, each on fresh totals. Returns False when more is to do, but a new scan is due."""
        given_up: set[tuple[Reason, str]] = set()
        while True:
            now_ns = int(self._context.wall_clock() * NS)
            tasks = policy.pending_tasks(
                self._config,
                self._rules,
                self.index.usage(),
                self._evictor.floors.free(),
                now_ns,
                in_progress=self._in_progress,
                reserved_bytes=self._grants.reserved_bytes(),
                unlisted_bytes=self._grants.unlisted_bytes,
                takeover_bytes=self._timer.takeover_bytes,
            )
            tasks = self._gate.allowed(tasks)
            self._in_progress = {one.name for one in tasks}
            task = next((one for one in tasks if one.name not in given_up), None)
            if task is None:
                return True
            entries = policy.select(task, self._evictor.candidates(task.namespaces), self.index.usage(), now_ns)
            if self._config.dry_run or not entries:
                remarks.not_removed(self._log, task, entries, dry_run=self._config.dry_run)
                given_up.add(task.name)
                continue
            self._evictor.evict(entries, task.reason)
            if self._clock() - scanned_at > max(_REMOVE_S, scanned_at - began):
                return False

    def _note_troubles(self, scanned: ScanResult, *, acted: bool) -> None:
        """At the end of a pass. acted: what is being removed is no trouble."""
        over = self.index.held_bytes() - self._config.effective_budget_bytes
        failure, self._evictor.last_failure = self._evictor.last_failure or self._gate.blocked, ""
        soon = self._gate.waiting and not self._gate.blocked
        over = 0 if acted or soon or self._config.dry_run else over
        note_pass(self._context.troubles, scanned.failed, over, failure)

    def _update_metrics(self) -> None:
        config, metrics = self._config, self._metrics
        metrics.update(
            self.index.usage(),
            self.index.title,
            budget=config.effective_budget_bytes,
            high=config.high_watermark,
            now=self._time.now(),
        )
        metrics.unknown_files.set(self.index.unknown_files())
        self._metrics.unknown_models.set(len(self._namespace_rules.unknown))
        self._metrics.unmatched_rules.set(len(self._namespace_rules.unmatched))

    def _warn(self, kind: str, text: str, *args: object) -> None:
        """At most one line a minute of each kind."""
        self._log.log(logging.WARNING, kind, text, *args)

# SPDX-License-Identifier: Apache-2.0
"""One round after the other: look, decide, remove, tell. Runs only while this process leads.

field   | owner                | guarded by
all     | the round's thread   | being one
"""

from __future__ import annotations

import errno
import json
import logging

from llmd_storage_connector.quiet import Quiet
from llmd_storage_evictor.cache import checkpoint, names
from llmd_storage_evictor.cache.directory import replace_file
from llmd_storage_evictor.cache.scanner import Scanner
from llmd_storage_evictor.config import Config, NamespaceRule
from llmd_storage_evictor.controller.eviction import Parts, Removals, symbol
from llmd_storage_evictor.controller.housekeeping import sweep
from llmd_storage_evictor.controller.write_grants import Admission
from llmd_storage_evictor.core import policy
from llmd_storage_evictor.core.manifests import model_of
from llmd_storage_evictor.core.policy import NS, Entry, Reason, Task
from llmd_storage_evictor.core.scan_timer import Pace

logger = logging.getLogger(__name__)

_ROUND_S = 5.0  # spent removing, beyond the look itself, before the cache is looked at again
_SWEEP_EVERY_S = 60.0
_WORTH_A_ROUND = 0.01  # share of the budget that has to be gained
ADVICE = "advice.json"


class Controller:
    """Thread: one. After AuthorityLost or an OSError it is thrown away, and a new one starts from the checkpoint."""

    def __init__(self, config: Config, parts: Parts) -> None:
        self._config, self._parts = config, parts
        self._directory, self._metrics, self._clock = parts.directory, parts.metrics, parts.clock
        self._quiet = Quiet(logger, clock=parts.clock)
        self._rules: dict[str, NamespaceRule] = {}
        self._pace = Pace(config)
        self._admission = Admission(config, parts, self._quiet)
        self._fruitful = True
        self._checkpoint_at = self._sweep_at = float("-inf")
        self._advised = 0.0
        self._begun: set[tuple[Reason, str]] = set()

    def open(self) -> None:
        """Learn what the last leader knew. Raises: OSError."""
        self._parts.progress.note("reading the checkpoint")
        self.index = checkpoint.load(self._directory)
        self._removals = Removals(self._config, self._parts, self.index, self._quiet)
        self._admission.open()
        self._checkpoint_at = self._clock()
        self._scanner = Scanner(
            self._directory,
            self.index,
            self._parts.pool,
            relist_s=self._config.relist_s,
            rescan_s=self._config.rescan_s,
            on_progress=self._parts.progress.note,
            clock=self._clock,
            wall_clock=self._parts.wall_clock,
        )

    def round(self) -> float:
        """One look at the cache and what follows from it.

        Returns: seconds until the next one is due. Raises: OSError when storage fails, AuthorityLost.
        """
        began, cpu_began = self._clock(), self._parts.cpu_clock()
        self._parts.progress.note("looking for changes")
        self._admission.look_begins()
        seen = self._scanner.scan()
        look_s, cpu_s = self._clock() - began, self._parts.cpu_clock() - cpu_began
        self._metrics.look_seconds.set(look_s)
        for place, error in seen.failed:
            self._metrics.errors.labels(symbol(error)).inc()
            self._warn("look", "%s cannot be looked at: %s", place, error)
        self._read_rules()
        grown = self._held()
        if self._admission.is_short or self._pace.is_due(began, grown):
            self._begun.add((Reason.BUDGET, ""))
        self._parts.progress.note("removing")
        done = self._carry_out(began, self._clock())
        if self._clock() - self._sweep_at > _SWEEP_EVERY_S:
            self._sweep_at = self._clock()
            if not self._config.dry_run:
                sweep(self._removals, self._rules, seen.scratch)
        self._show()
        self._keep_notes()
        self._parts.progress.note("waiting for the next look")
        if not done:
            return 0.0
        left = self._held()
        self._fruitful = left < grown
        free, _ = self._removals.free()
        return self._pace.wait_s(began=began, look_s=look_s, cpu_s=cpu_s, grown=grown, left=left, free=free)

    def attend(self) -> bool:
        """Between two rounds: tell engines how much they may write. Returns: whether a round is due at once.

        Raises: OSError.
        """
        if self._config.dry_run or not self._parts.may_remove():
            return False
        config, held = self._config, self._admission.attend(self._held())
        if held > config.budget_bytes * config.high_watermark:
            return True
        # What is pinned does not go however often it is looked at.
        wanted = self._admission.room_wanted() - config.budget_bytes * _WORTH_A_ROUND
        return self._admission.is_short and self._fruitful and held > config.budget_bytes - wanted

    @property
    def attend_every_s(self) -> float:
        """When to attend again."""
        return self._admission.every_s

    def _held(self) -> int:
        return sum(held.bytes for held in self.index.usage().values())

    def close(self) -> None:
        """Leave a checkpoint for the next one. Requires: this process still holds the lock. Raises: OSError."""
        if not self._config.dry_run:
            checkpoint.save(self._directory, self.index)

    def _carry_out(self, began: float, looked: float) -> bool:
        """Tasks one after the other, each on fresh sums. False: more is to be done, but the cache is due for a look."""
        given_up: set[tuple[Reason, str]] = set()
        while True:
            now_ns = int(self._parts.wall_clock() * NS)
            todo = policy.tasks(
                self._config,
                self._rules,
                self.index.usage(),
                self._removals.free()[1],
                now_ns,
                begun=self._begun,
                ahead_bytes=self._admission.room_wanted(),
            )
            self._begun = {one.name for one in todo}
            task = next((one for one in todo if one.name not in given_up), None)
            if task is None:
                return True
            chosen = policy.choose(task, self._removals.candidates(task.namespaces), self.index.usage(), now_ns)
            if self._config.dry_run or not chosen:
                self._say_left(task, chosen)
                given_up.add(task.name)
                continue
            self._removals.remove(chosen, task.reason)
            if self._clock() - looked > max(_ROUND_S, looked - began):
                return False

    def _read_rules(self) -> None:
        """A namespace's manifest is read once; without one, no rule for a model matches."""
        known = set(self.index.namespaces())
        self._rules = {name: rule for name, rule in self._rules.items() if name in known}
        for name in known - set(self._rules):
            try:
                manifest = self._directory.manifest(name)
            except OSError as error:
                self._warn("manifest", "the manifest of %s cannot be read: %s", name, error)
                continue
            rule = policy.rule_for(self._config, name, model_of(manifest))
            if manifest is not None:
                self._rules[name] = rule
        self._rules |= {name: policy.rule_for(self._config, name, "") for name in known - set(self._rules)}

    def _show(self) -> None:
        config = self._config
        self._metrics.show(self.index.usage(), config.budget_bytes, config.high_watermark, self.index.unknown_files())

    def _keep_notes(self) -> None:
        """Checkpoint and advice. A disk that takes neither is no reason to stop."""
        if self._config.dry_run or not self._parts.may_remove():
            return
        try:
            self._advise()
            if self._clock() - self._checkpoint_at > self._config.checkpoint_s:
                self._checkpoint_at = self._clock()
                checkpoint.save(self._directory, self.index)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            self._warn("notes", "checkpoint and advice cannot be written: %s", error)

    def _advise(self) -> None:
        usage = self.index.usage()
        held = self._held()
        oldest_ns = min((held.oldest_ns for held in usage.values() if held.files), default=0)
        # While there is room for as much again, nothing is removed soon, and age matters little.
        pressed = held > self._config.budget_bytes / 2
        age_s = self._parts.wall_clock() - oldest_ns / NS if pressed and oldest_ns else float("inf")
        touch_s = policy.touch_after_s(self._config, age_s)
        if self._advised and 0.8 < touch_s / self._advised < 1.25:
            return
        self._directory.make_state_folder()
        with self._directory.folder(names.STATE_FOLDER) as fd:
            replace_file(fd, ADVICE, [json.dumps({"version": 1, "touchAfterS": round(touch_s, 1)}).encode() + b"\n"])
        self._advised = touch_s

    def _say_left(self, task: Task, chosen: list[Entry]) -> None:
        if self._config.dry_run:
            text, size = "dry run: would remove %d files, %d bytes, for %s", sum(entry.size for entry in chosen)
            self._warn(f"dry {task.reason}", text, len(chosen), size, task.reason)
        elif task.need_bytes:
            text = "%d bytes have to go (%s), but what is left is pinned, within its minimum, or could not be removed"
            self._warn(f"left {task.reason}", text, task.need_bytes, task.reason)

    def _warn(self, kind: str, text: str, *args: object) -> None:
        """At most one a minute of each kind."""
        self._quiet.log(logging.WARNING, kind, text, *args)

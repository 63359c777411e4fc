# SPDX-License-Identifier: Apache-2.0
"""One round after the other: look, decide, remove, tell. Runs only while this process leads.

field   | owner                | guarded by
all     | the round's thread   | being one
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass

from llmd_storage_evictor import checkpoint, names, policy, sweeps
from llmd_storage_evictor.config import Config, NamespaceRule
from llmd_storage_evictor.errors import AuthorityLost
from llmd_storage_evictor.index import Index
from llmd_storage_evictor.journal import Journal
from llmd_storage_evictor.manifests import model_of
from llmd_storage_evictor.metrics import Metrics
from llmd_storage_evictor.pace import Pace, Settling
from llmd_storage_evictor.policy import NS, Entry, Reason, Task
from llmd_storage_evictor.progress import Progress
from llmd_storage_evictor.remover import Removal, remove
from llmd_storage_evictor.scanner import Scanner
from llmd_storage_evictor.tree import Tree, replace_file

logger = logging.getLogger(__name__)

# Entries removed in one go. Many, since each go lists every folder once; but what is written meanwhile is not seen.
_BATCH = 32768
_ROUND_S = 5.0  # spent removing, beyond the look itself, before the cache is looked at again
_SWEEP_EVERY_S = 60.0
_STUCK_S = 600.0  # a file that could not be removed is left alone for so long
_SAY_EVERY_S = 60.0
ADVICE = "advice.json"


@dataclass(slots=True)
class Parts:
    """What a controller works with."""

    tree: Tree
    pool: Executor
    may_remove: Callable[[], bool]
    metrics: Metrics
    progress: Progress
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time
    cpu_clock: Callable[[], float] = time.process_time


class Controller:
    """Thread: one. After AuthorityLost or an OSError it is thrown away, and a new one starts from the checkpoint."""

    def __init__(self, config: Config, parts: Parts) -> None:
        self._config, self._parts = config, parts
        self._tree, self._metrics, self._clock = parts.tree, parts.metrics, parts.clock
        self.index = Index()
        self._journal = Journal(parts.tree, config.journal_bytes, parts.wall_clock)
        self._rules: dict[str, NamespaceRule] = {}
        self._stuck: dict[tuple[str, str, int], float] = {}
        self._said: dict[str, float] = {}
        self._pace = Pace(config)
        self._settling = Settling()
        self._checkpoint_at = self._sweep_at = float("-inf")
        self._advised = 0.0
        self._begun: set[tuple[Reason, str]] = set()

    def open(self) -> None:
        """Learn what the last leader knew. Raises: OSError."""
        self._parts.progress.note("reading the checkpoint")
        self.index = checkpoint.load(self._tree)
        self._checkpoint_at = self._clock()
        self._scanner = Scanner(
            self._tree,
            self.index,
            self._parts.pool,
            relist_s=self._config.relist_s,
            rescan_s=self._config.rescan_s,
            advanced=self._parts.progress.note,
            clock=self._clock,
            wall_clock=self._parts.wall_clock,
        )

    def round(self) -> float:
        """One look at the cache and what follows from it.

        Returns: seconds until the next one is due. Raises: OSError when storage fails, AuthorityLost.
        """
        began, cpu_began = self._clock(), self._parts.cpu_clock()
        self._parts.progress.note("looking for changes")
        seen = self._scanner.look()
        look_s, cpu_s = self._clock() - began, self._parts.cpu_clock() - cpu_began
        self._metrics.look_seconds.set(look_s)
        for place, error in seen.failed:
            self._metrics.errors.labels(symbol(error)).inc()
            self._say("look", f"{place} cannot be looked at: {error}")
        self._read_rules()
        grown = sum(share.bytes for share in self.index.shares().values())
        if self._pace.is_due(began, grown):
            self._begun.add((Reason.BUDGET, ""))
        self._parts.progress.note("removing")
        done = self._carry_out(began, self._clock())
        if self._clock() - self._sweep_at > _SWEEP_EVERY_S:
            self._sweep(seen.scratch)
        self._show()
        self._keep_notes()
        self._parts.progress.note("waiting for the next look")
        if not done:
            return 0.0
        left = sum(share.bytes for share in self.index.shares().values())
        return self._pace.wait_s(began=began, look_s=look_s, cpu_s=cpu_s, grown=grown, left=left, free=self._free()[0])

    def close(self) -> None:
        """Leave a checkpoint for the next one. Requires: this process still holds the lock. Raises: OSError."""
        if not self._config.dry_run:
            checkpoint.save(self._tree, self.index)

    def _carry_out(self, began: float, looked: float) -> bool:
        """Tasks one after the other, each on fresh sums. False: more is to be done, but the cache is due for a look."""
        given_up: set[tuple[Reason, str]] = set()
        while True:
            now_ns = int(self._parts.wall_clock() * NS)
            todo = policy.tasks(
                self._config, self._rules, self.index.shares(), self._free()[1], now_ns, begun=self._begun
            )
            self._begun = {one.name for one in todo}
            task = next((one for one in todo if one.name not in given_up), None)
            if task is None:
                return True
            chosen = self._choose(task, now_ns)
            if self._config.dry_run or not chosen:
                self._say_left(task, chosen)
                given_up.add(task.name)
                continue
            self._remove(chosen, task.reason)
            if self._clock() - looked > max(_ROUND_S, looked - began):
                return False

    def _choose(self, task: Task, now_ns: int) -> list[Entry]:
        now = self._clock()
        self._stuck = {one: until for one, until in self._stuck.items() if until > now}
        entries = (
            entry
            for entry in self.index.first(task.namespaces, _BATCH)
            if (entry.namespace, entry.folder, entry.id) not in self._stuck
        )
        return policy.choose(task, entries, self.index.shares(), now_ns)

    def _remove(self, entries: list[Entry], reason: Reason) -> int:
        """Returns: how many files went. Raises: AuthorityLost."""
        before, _ = self._free()
        results = remove(self._tree, self._parts.pool, entries, self._parts.may_remove, self._parts.progress.note)
        removed: dict[str, list[str]] = {}
        for result in results:
            self._learn(result)
            keys = [name.rpartition(".")[0] for name, _ in result.removed]
            removed.setdefault(result.namespace, []).extend(keys)
        sizes = [size for result in results for _, size in result.removed]
        self._settling.removed(self._clock(), before, sum(sizes))
        self._metrics.removed_files.labels(reason.value).inc(len(sizes))
        self._metrics.removed_bytes.labels(reason.value).inc(sum(sizes))
        if sizes:
            facts = {"reason": reason.value, "files": len(sizes), "bytes": sum(sizes)}
            logger.info("removed blocks", extra={"facts": facts})
        if reason is not Reason.DAMAGED:
            self._tell(removed, reason)
        if any(result.stopped for result in results):
            raise AuthorityLost("another process may be the leader by now: removal was broken off")
        return len(sizes)

    def _learn(self, result: Removal) -> None:
        gone = {names.block_id(name) for name, _ in result.removed} | set(result.gone)
        known = self.index.folder(result.namespace, result.folder)
        if known is not None:
            self.index.put(result.namespace, result.folder, known.changed(gone, result.touched))
        self._metrics.spared.inc(len(result.touched))
        for id_, error in result.failed.items():
            self._stuck[result.namespace, result.folder, id_] = self._clock() + _STUCK_S
            self._metrics.failures.labels(symbol(error)).inc()
            self._say("failed", f"blocks in {result.namespace}/{result.folder} cannot be removed: {error}")

    def _tell(self, removed: Mapping[str, list[str]], reason: Reason) -> None:
        for namespace, keys in removed.items():
            try:
                self._journal.append(namespace, reason.value, keys)
            except OSError as error:
                self._say("journal", f"the journal cannot be written ({error}): readers find out by a miss")

    def _free(self) -> tuple[int, int | None]:
        """(free bytes as shown, free bytes to compare with the floor or None)."""
        _, shown = self._tree.space()
        self._metrics.free.set(shown)
        return shown, self._settling.counted(self._clock(), shown) if self._config.free_floor_bytes else None

    def _read_rules(self) -> None:
        """A namespace's manifest is read once; without one, no rule for a model matches."""
        known = set(self.index.namespaces())
        self._rules = {name: rule for name, rule in self._rules.items() if name in known}
        for name in known - set(self._rules):
            try:
                manifest = self._tree.manifest(name)
            except OSError as error:
                self._say("manifest", f"the manifest of {name} cannot be read: {error}")
                continue
            rule = policy.rule_for(self._config, name, model_of(manifest))
            if manifest is not None:
                self._rules[name] = rule
        self._rules |= {name: policy.rule_for(self._config, name, "") for name in known - set(self._rules)}

    def _sweep(self, scratch: list[tuple[str, str, list[str]]]) -> None:
        self._sweep_at = self._clock()
        may = self._parts.may_remove
        if self._config.dry_run:
            return
        now = self._parts.wall_clock()
        found = self.index.namespaces()
        gone = sweeps.sweep_scratch(self._tree, scratch, found, now - self._config.scratch_keep_s, may)
        self._metrics.removed_files.labels(Reason.SCRATCH.value).inc(len(gone))
        self._metrics.removed_bytes.labels(Reason.SCRATCH.value).inc(sum(size for _, size in gone))
        if self._config.probe_dir:
            runs = sweeps.sweep_probes(self._config.probe_dir, now - self._config.probe_keep_s, may)
            self._metrics.removed_files.labels(Reason.PROBE.value).inc(len(runs))
        last = {}
        for name in found:
            with contextlib.suppress(OSError):
                last[name] = sweeps.last_used_ns(self._tree, name)
        for name in policy.unused(self.index.shares(), self._rules, last, self._config, int(now * NS)):
            self._retire(name)

    def _retire(self, namespace: str) -> None:
        """All of a namespace that nobody uses. A block that was used meanwhile ends it."""
        logger.info("removing a namespace that is not used any more", extra={"facts": {"namespace": namespace}})
        sweeps.retire(self._tree, namespace, self._parts.may_remove)
        while entries := [
            entry
            for entry in self.index.first([namespace], _BATCH)
            if (entry.namespace, entry.folder, entry.id) not in self._stuck
        ]:
            if self._remove(entries, Reason.UNUSED) < len(entries):
                return
        if sweeps.remove_folders(self._tree, namespace, self._parts.may_remove):
            self.index.forget(namespace)

    def _show(self) -> None:
        config = self._config
        self._metrics.show(self.index.shares(), config.budget_bytes, config.high_watermark, self.index.foreign())

    def _keep_notes(self) -> None:
        """Checkpoint and advice. A disk that takes neither is no reason to stop."""
        if self._config.dry_run or not self._parts.may_remove():
            return
        try:
            self._advise()
            if self._clock() - self._checkpoint_at > self._config.checkpoint_s:
                self._checkpoint_at = self._clock()
                checkpoint.save(self._tree, self.index)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            self._say("notes", f"checkpoint and advice cannot be written: {error}")

    def _advise(self) -> None:
        shares = self.index.shares()
        held = sum(share.bytes for share in shares.values())
        oldest_ns = min((share.oldest_ns for share in shares.values() if share.files), default=0)
        # While there is room for as much again, nothing is removed soon, and age matters little.
        pressed = held > self._config.budget_bytes / 2
        age_s = self._parts.wall_clock() - oldest_ns / NS if pressed and oldest_ns else float("inf")
        touch_s = policy.touch_after_s(self._config, age_s)
        if self._advised and 0.8 < touch_s / self._advised < 1.25:
            return
        self._tree.state_folder()
        with self._tree.folder(names.STATE_FOLDER) as fd:
            replace_file(fd, ADVICE, [json.dumps({"version": 1, "touchAfterS": round(touch_s, 1)}).encode() + b"\n"])
        self._advised = touch_s

    def _say_left(self, task: Task, chosen: list[Entry]) -> None:
        size = sum(entry.size for entry in chosen)
        if self._config.dry_run:
            self._say(
                f"dry {task.reason}", f"dry run: would remove {len(chosen)} files, {size} bytes, for {task.reason}"
            )
        elif task.need_bytes:
            text = (
                f"{task.need_bytes} bytes have to go ({task.reason}), but what is left is pinned, within its minimum, "
            )
            self._say(f"left {task.reason}", text + "or could not be removed")

    def _say(self, kind: str, text: str) -> None:
        """A warning, at most one a minute of each kind."""
        now = self._clock()
        if now - self._said.get(kind, float("-inf")) >= _SAY_EVERY_S:
            self._said[kind] = now
            logger.warning(text)


def symbol(error: OSError) -> str:
    """The error's symbol in lower case: a metrics label."""
    return errno.errorcode.get(error.errno or 0, "unknown").lower()

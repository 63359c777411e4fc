# SPDX-License-Identifier: Apache-2.0
"""One pod of the pair: meet, take the steps, hand over, clean up. Nothing here outlives its deadline."""

from __future__ import annotations

import errno
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from llmd_storage_hooks.core import decoding
from llmd_storage_hooks.core.clock import Clock, Deadline
from llmd_storage_hooks.core.errors import ConfigError, DeadlinePassed, HooksError, Stopped
from llmd_storage_hooks.core.timeout import Hung, bounded
from llmd_storage_hooks.probe import facts
from llmd_storage_hooks.probe.collect.channel import ABORT, Mail, PartnerAborted
from llmd_storage_hooks.probe.collect.context import Context, Step
from llmd_storage_hooks.probe.collect.files import Files
from llmd_storage_hooks.probe.collect.mounts import filesystem_of
from llmd_storage_hooks.probe.collect.steps.sequence import STEPS
from llmd_storage_hooks.probe.config import ProbeConfig
from llmd_storage_hooks.probe.facts import Seat
from llmd_storage_hooks.probe.strategies import TRIALS, best, candidates

SCRATCH = ".probe"
TRIAL_BYTES = 4 * 1024 * 1024
HAND_OVER_S = 10.0  # a healthy filesystem needs well under a second
Say = Callable[[str], None]


class Pair:
    """One pod's side of the probe.

    Thread: the caller's; each step runs in a thread of its own that may be abandoned.
    """

    def __init__(self, config: ProbeConfig, seat: Seat, files: Files, clock: Clock, say: Say) -> None:
        self.seat = seat
        self._config = config
        self._files = files
        self._clock = clock
        self._say = say
        self._folder = f"{SCRATCH}/{seat.run_id}"
        self._overall = Deadline.after(clock, config.timeout_seconds)
        self._mail = Mail(files, f"{self._folder}/mail", seat.index, clock)
        self._pod = facts.Pod(seat.index, seat.node, os.geteuid(), os.getegid())
        self._steps: list[facts.Step] = []
        self._context = Context(seat.index, self._folder, files, self._mail, clock, "")

    def take_all(self) -> facts.Observations:
        """Meet and take the steps; the first that does not end well is the last.

        Returns: what was observed, whatever happened. Raises: Stopped when told to end between two steps.
        """
        if self._take("meet", self._meet, self._meeting_s()):
            for name, step in STEPS:
                if not self._take(name, step, self._config.deadline_seconds):
                    break
        return self.observations()

    def observations(self) -> facts.Observations:
        return facts.Observations(pod=self._pod, steps=tuple(self._steps), **self._context.found)

    def met(self) -> bool:
        return "partner" in self._context.found

    def hung(self) -> bool:
        return any(step.outcome == "hung" for step in self._steps)

    def stopped(self) -> bool:
        return any(step.outcome == "stopped" for step in self._steps)

    def hand_over(self) -> bool:
        """Pod 1: give the observations to pod 0 and wait until it has them. False when that failed. Raises: Stopped."""
        mine = decoding.dump(self.observations())

        def work() -> None:
            self._mail.send("observations", mine)
            self._mail.receive("observations-read", self._short(), heed_abort=False)
            self._mail.send("bye")

        return self._quietly(work, "hand the observations over")

    def take_over(self) -> facts.Observations | None:
        """Pod 0: pod 1's observations; None when they do not come. Raises: Stopped."""
        got: list[facts.Observations] = []

        def work() -> None:
            raw = self._mail.receive("observations", self._short(), heed_abort=False)
            got.append(decoding.load(facts.Observations, raw, "the other pod's observations"))
            self._mail.send("observations-read")
            self._mail.receive("bye", self._short(), heed_abort=False)

        self._quietly(work, "get the other pod's observations")
        return got[0] if got else None

    def clean_up(self) -> None:
        """Remove the scratch directory, also after a failure; a hung filesystem gets a short time only."""

        def work() -> None:
            self._files.end()
            self._files.remove_tree(self._folder)
            self._files.remove_empty(SCRATCH)

        what = f"remove the scratch directory {self._folder}"
        try:
            removed = self._quietly(work, what)
        except Stopped:  # a pod is told once: this time nothing comes between
            removed = self._quietly(work, what)
        if removed:
            self._say(f"probe[{self._pod.index}] scratch directory removed")

    def _meeting_s(self) -> float:
        # The other pod may still be pulling its image, so meeting may take what the steps do not need.
        left = self._overall.left()
        return max(left - 2 * self._config.deadline_seconds, left / 2)

    def _meet(self, context: Context, deadline: Deadline) -> None:
        self._mail.open()
        other = self._mail.meet("hello", deadline, decoding.dump(self._pod))
        context.found["partner"] = decoding.load(facts.Pod, other, "the other pod's hello")
        self._compare_clocks(context, deadline)
        self._choose(context, deadline)

    def _choose(self, context: Context, deadline: Deadline) -> None:
        """Pod 0 chooses as the connector does at its start; both then publish in that way."""
        context.found["filesystem"] = filesystem = filesystem_of(os.path.realpath(self._files.root))
        if context.index == 1:
            context.strategy = str(self._mail.receive("strategy", deadline))
        else:
            ways = candidates(self._config.publish, filesystem)
            seconds = {way: self._measure(context, way) for way in ways} if len(ways) > 1 else {}
            context.found["trials"] = tuple(facts.Publish(way, round(took, 5)) for way, took in seconds.items())
            context.strategy = best(seconds) if seconds else ways[0]
            self._mail.send("strategy", context.strategy)
        context.found["strategy"] = context.strategy

    def _measure(self, context: Context, way: str) -> float:
        folder = f"trial-{way}"
        self._files.mkdir(context.name(folder))
        data = bytes(TRIAL_BYTES)
        return statistics.median(
            self._files.publish(context.name(folder, str(number)), data, way) for number in range(TRIALS)
        )

    def _compare_clocks(self, context: Context, deadline: Deadline) -> None:
        """Pod 0 asks, pod 1 answers with its time: right to half the time of the exchange."""
        if context.index == 1:
            self._mail.receive("clock", deadline)
            self._mail.send("clock", time.time())
            return
        asked = time.time()
        theirs = float(self._mail.meet("clock", deadline))
        context.found["clock_offset_seconds"] = round(theirs - (asked + time.time()) / 2, 3)

    def _take(self, name: str, step: Step, limit_s: float) -> bool:
        deadline = Deadline.after(self._clock, min(limit_s, self._overall.left()))
        began = self._clock.now()
        outcome = facts.Step(name, 0.0, "done")
        try:
            bounded(lambda: step(self._context, deadline), deadline)
        except Hung:
            outcome = facts.Step(name, 0.0, "hung", f"no answer within {deadline.seconds:.0f} s")
        except DeadlinePassed as error:
            outcome = facts.Step(name, 0.0, "deadline", str(error))
        except PartnerAborted as error:
            outcome = facts.Step(name, 0.0, "aborted", str(error))
        except Stopped:
            outcome = facts.Step(name, 0.0, "stopped", "the pod was told to end")
        except OSError as error:
            outcome = facts.Step(name, 0.0, "error", self._said(error), errno=error.errno or 0)
        except ConfigError as error:  # an ill-formed message: another version of the probe in the other pod
            outcome = facts.Step(name, 0.0, "error", str(error))
        outcome = replace(
            outcome,
            seconds=round(self._clock.now() - began, 3),
            operation="" if outcome.outcome == "done" else self._files.doing,
        )
        self._steps.append(outcome)
        tail = f" ({outcome.detail}; last operation: {outcome.operation})" if outcome.detail else ""
        self._say(f"probe[{self._pod.index}] {name}: {outcome.outcome} in {outcome.seconds:.2f} s{tail}")
        if outcome.outcome in ("error", "deadline", "stopped") and self.met():
            self._quietly(lambda: self._mail.send(ABORT, f"step {name}: {outcome.detail}"), "tell the other")
        return outcome.outcome == "done"

    def _said(self, error: OSError) -> str:
        name = Path(str(error.filename)).name if error.filename else ""
        said = f"{os.strerror(error.errno or 0)}{f' ({name})' if name else ''}"
        if error.errno not in (errno.EACCES, errno.EPERM):
            return said
        whose: list[str] = []
        try:
            bounded(lambda: whose.append(self._files.describe(str(error.filename or ""))), self._short())
        except (OSError, Hung):
            return said
        return f"{said}; {whose[0]}"

    def _short(self) -> Deadline:
        return Deadline.after(self._clock, min(HAND_OVER_S, self._config.deadline_seconds))

    def _quietly(self, work: Callable[[], None], what: str) -> bool:
        """Whether it was done; if not, that is said. Raises: Stopped."""
        try:
            bounded(work, self._short())
        except Stopped:
            raise
        except Hung:
            self._say(f"probe[{self._pod.index}] could not {what}: the filesystem does not answer")
        except (OSError, HooksError) as error:
            self._say(f"probe[{self._pod.index}] could not {what}: {error}")
        else:
            return True
        return False

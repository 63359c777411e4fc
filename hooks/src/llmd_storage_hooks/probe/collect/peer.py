# SPDX-License-Identifier: Apache-2.0
"""One of the two pods: meet the other, run the steps, exchange observations, clean up. Each part has a deadline."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from llmd_storage_hooks.core.clock import Clock, Deadline
from llmd_storage_hooks.core.decoding import decode, encode
from llmd_storage_hooks.core.errors import ConfigError, DeadlinePassed, HooksError, Stopped
from llmd_storage_hooks.core.timeout import CallTimeout, bounded
from llmd_storage_hooks.probe import facts
from llmd_storage_hooks.probe.collect.channel import ABORT, FileChannel, PartnerAborted
from llmd_storage_hooks.probe.collect.context import Context, StepFunction
from llmd_storage_hooks.probe.collect.files import Files
from llmd_storage_hooks.probe.collect.steps.meet import meet
from llmd_storage_hooks.probe.collect.steps.sequence import STEPS
from llmd_storage_hooks.probe.config import ProbeConfig
from llmd_storage_hooks.probe.facts import Rank

SCRATCH = ".probe"
EXCHANGE_S = 10.0  # a healthy filesystem needs well under a second
Say = Callable[[str], None]


class Peer:
    """This pod's side of the probe.

    Thread: the caller's; each step runs in a thread of its own that may be abandoned.
    """

    def __init__(self, config: ProbeConfig, rank: Rank, files: Files, clock: Clock, say: Say) -> None:
        self.rank = rank
        self._config = config
        self._files = files
        self._clock = clock
        self._say = say
        self._folder = f"{SCRATCH}/{rank.run_id}"
        self._overall = Deadline.after(clock, config.timeout_seconds)
        self._channel = FileChannel(files, f"{self._folder}/channel", rank.index, clock)
        self._pod = facts.Pod(rank.index, rank.node, os.geteuid(), os.getegid())
        self._steps: list[facts.StepResult] = []
        self._context = Context(rank.index, self._folder, files, self._channel, clock, "")

    def run_steps(self, other_runs: Callable[[], bool] = lambda: False) -> facts.Observations:
        """Run the steps in order, up to the first that is not done.

        other_runs: asked where the other pod did not show up: whether it is there all the same. Then it is waited for
        once more, since it may have started a moment ago; that it is not found then says that the files are not shared.
        Returns: what was observed until then. Raises: Stopped on SIGTERM between two steps.
        """
        met = self._run_step("meet", self._meet, self._meeting_s())
        if not met and self._steps[-1].outcome == "deadline" and other_runs():
            waited = self._steps.pop().seconds
            met = self._run_step("meet", self._meet, self._config.deadline_seconds)
            self._steps[-1] = replace(self._steps[-1], seconds=round(self._steps[-1].seconds + waited, 3))
        if met:
            for name, step in STEPS:
                if not self._run_step(name, step, self._config.deadline_seconds):
                    break
        return self.observations()

    def observations(self) -> facts.Observations:
        """What was observed so far."""
        return facts.Observations(pod=self._pod, steps=tuple(self._steps), **self._context.observed)

    def met(self) -> bool:
        """Whether the other pod has shown up."""
        return "partner" in self._context.observed

    def timed_out(self) -> bool:
        """Whether a file operation of a step did not return."""
        return any(step.outcome == "timeout" for step in self._steps)

    def stopped(self) -> bool:
        """Whether SIGTERM came during a step."""
        return any(step.outcome == "stopped" for step in self._steps)

    def send_observations(self) -> bool:
        """Pod 1: send the observations to pod 0 and wait until it has them. False when that failed. Raises: Stopped."""
        mine = encode(self.observations())

        def work() -> None:
            self._channel.send("observations", mine)
            self._channel.receive("observations-read", self._short_deadline(), check_abort=False)
            self._channel.send("bye")

        return self._attempt(work, "hand the observations over")

    def receive_observations(self) -> facts.Observations | None:
        """Pod 0: pod 1's observations; None when they do not come. Raises: Stopped."""
        got: list[facts.Observations] = []

        def work() -> None:
            raw = self._channel.receive("observations", self._short_deadline(), check_abort=False)
            got.append(decode(facts.Observations, raw, "the other pod's observations"))
            self._channel.send("observations-read")
            self._channel.receive("bye", self._short_deadline(), check_abort=False)

        self._attempt(work, "get the other pod's observations")
        return got[0] if got else None

    def clean_up(self) -> None:
        """Remove the scratch directory, also after a failure. Blocks up to: EXCHANGE_S and a grace."""

        def work() -> None:
            self._files.end()
            self._files.remove_tree(self._folder)
            self._files.remove_empty(SCRATCH)

        what = f"remove the scratch directory {self._folder}"
        try:
            removed = self._attempt(work, what)
        except Stopped:  # SIGTERM is handled once: a second attempt is not interrupted
            removed = self._attempt(work, what)
        if removed:
            self._say(f"probe[{self._pod.index}] scratch directory removed")

    def _meeting_s(self) -> float:
        # The other pod may still be pulling its image, so the meeting gets all the time that the steps do not need.
        left = self._overall.left()
        return max(left - 2 * self._config.deadline_seconds, left / 2)

    def _meet(self, context: Context, deadline: Deadline) -> None:
        meet(context, self._pod, self._config.publish, deadline)

    def _run_step(self, name: str, step: StepFunction, limit_s: float) -> bool:
        deadline = Deadline.after(self._clock, min(limit_s, self._overall.left()))
        began = self._clock.now()
        result = facts.StepResult(name, 0.0, "done")
        try:
            bounded(lambda: step(self._context, deadline), deadline)
        except CallTimeout:
            result = facts.StepResult(name, 0.0, "timeout", f"no answer within {deadline.seconds:.0f} s")
        except DeadlinePassed as error:
            result = facts.StepResult(name, 0.0, "deadline", str(error))
        except PartnerAborted as error:
            result = facts.StepResult(name, 0.0, "aborted", str(error))
        except Stopped:
            result = facts.StepResult(name, 0.0, "stopped", "the pod was told to end")
        except OSError as error:
            result = facts.StepResult(name, 0.0, "error", self._error_text(error), errno=error.errno or 0)
        except ConfigError as error:  # a malformed message: the other pod runs another version of the probe
            result = facts.StepResult(name, 0.0, "error", str(error))
        result = replace(
            result,
            seconds=round(self._clock.now() - began, 3),
            operation="" if result.outcome == "done" else self._files.doing,
        )
        self._steps.append(result)
        tail = f" ({result.detail}; last operation: {result.operation})" if result.detail else ""
        self._say(f"probe[{self._pod.index}] {name}: {result.outcome} in {result.seconds:.2f} s{tail}")
        if result.outcome in ("error", "deadline", "stopped") and self.met():
            self._attempt(lambda: self._channel.send(ABORT, f"step {name}: {result.detail}"), "tell the other")
        return result.outcome == "done"

    def _error_text(self, error: OSError) -> str:
        name = Path(str(error.filename)).name if error.filename else ""
        text = f"{os.strerror(error.errno or 0)}{f' ({name})' if name else ''}"
        if error.errno not in (errno.EACCES, errno.EPERM):
            return text
        owner: list[str] = []
        try:
            bounded(lambda: owner.append(self._files.describe(str(error.filename or ""))), self._short_deadline())
        except (OSError, CallTimeout):
            return text
        return f"{text}; {owner[0]}"

    def _short_deadline(self) -> Deadline:
        return Deadline.after(self._clock, min(EXCHANGE_S, self._config.deadline_seconds))

    def _attempt(self, work: Callable[[], None], what: str) -> bool:
        """Whether `work` was done; if not, a line says so. Raises: Stopped."""
        try:
            bounded(work, self._short_deadline())
        except Stopped:
            raise
        except CallTimeout:
            self._say(f"probe[{self._pod.index}] could not {what}: the filesystem does not answer")
        except (OSError, HooksError) as error:
            self._say(f"probe[{self._pod.index}] could not {what}: {error}")
        else:
            return True
        return False

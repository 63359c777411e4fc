# SPDX-License-Identifier: Apache-2.0
"""The first step: the pods meet, compare their clocks, and agree on how files are published."""

from __future__ import annotations

import os
import statistics
import time

from llmd_storage_core.strategies import SAMPLES, best, candidates
from llmd_storage_hooks.core.clock import Deadline
from llmd_storage_hooks.core.decoding import decode, encode
from llmd_storage_hooks.probe import facts
from llmd_storage_hooks.probe.collect.context import Context
from llmd_storage_hooks.probe.collect.mounts import caching_of, filesystem_of

SAMPLE_BYTES = 4 * 1024 * 1024


def meet(ctx: Context, pod: facts.Pod, publish: str, deadline: Deadline) -> None:
    """`publish`: the connector's setting. Ensures: `ctx.strategy` is the same in both pods."""
    ctx.channel.open()
    other = ctx.channel.meet("hello", deadline, encode(pod))
    ctx.observed["partner"] = decode(facts.Pod, other, "the other pod's hello")
    _compare_clocks(ctx, deadline)
    _choose_strategy(ctx, publish, deadline)


def _compare_clocks(ctx: Context, deadline: Deadline) -> None:
    """Pod 0 asks, pod 1 answers with its time: right to half the time of the exchange."""
    if ctx.index == 1:
        ctx.channel.receive("clock", deadline)
        ctx.channel.send("clock", time.time())
        return
    asked = time.time()
    theirs = float(ctx.channel.meet("clock", deadline))
    ctx.observed["clock_offset_seconds"] = round(theirs - (asked + time.time()) / 2, 3)


def _choose_strategy(ctx: Context, publish: str, deadline: Deadline) -> None:
    """Pod 0 chooses as the connector does at its start; both then publish in that way."""
    root = os.path.realpath(ctx.files.root)
    ctx.observed["filesystem"] = filesystem = filesystem_of(root)
    ctx.observed["caching"] = caching_of(root)
    if ctx.index == 1:
        ctx.strategy = str(ctx.channel.receive("strategy", deadline))
    else:
        strategies = candidates(publish, filesystem)
        seconds = {one: _measure(ctx, one) for one in strategies} if len(strategies) > 1 else {}
        ctx.observed["samples"] = tuple(facts.Publish(one, round(took, 5)) for one, took in seconds.items())
        ctx.strategy = best(seconds) if seconds else strategies[0]
        ctx.channel.send("strategy", ctx.strategy)
    ctx.observed["strategy"] = ctx.strategy


def _measure(ctx: Context, strategy: str) -> float:
    """Median seconds of publishing a file in this way."""
    folder = f"sample-{strategy}"
    ctx.files.mkdir(ctx.name(folder))
    data = bytes(SAMPLE_BYTES)
    return statistics.median(
        ctx.files.publish(ctx.name(folder, str(number)), data, strategy) for number in range(SAMPLES)
    )

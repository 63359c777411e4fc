# SPDX-License-Identifier: Apache-2.0
"""First lookup: how soon does one node find a file that the other has just published?"""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor

from llmd_storage_core.strategies import STRATEGIES
from llmd_storage_hooks.core.clock import Deadline
from llmd_storage_hooks.probe import facts
from llmd_storage_hooks.probe.collect.context import Context, StepFunction, poll

LOOKUP_FILES = 4  # of each strategy
PUBLISHED_AFTER_S = 0.5  # time for publishing them; a block is usually looked up later than that
LOOKUP_BYTES = 64 * 1024


def lookup_from(writer: int) -> StepFunction:
    """The step in which pod `writer` publishes and the other pod looks up.

    One round for the connector's strategy, and, when pod 0 writes, one for each other strategy, for comparison. The
    message that starts a round is sent before the files are published, and none in between: a message ends with an
    fsync, and on CephFS an fsync makes visible all that came before it.
    """

    def step(ctx: Context, deadline: Deadline) -> None:
        others = [one for one in STRATEGIES if one != ctx.strategy] if writer == 0 else []
        slowest = 0.0
        for strategy in (ctx.strategy, *others):
            if ctx.index == writer:
                again = _publish_round(ctx, strategy, deadline)
            else:
                seconds = _lookup_round(ctx, strategy, writer, deadline)
                slowest = max(slowest, seconds)
                again = deadline.left() > 2 * slowest + 5  # comparisons are worth no failed step
                ctx.channel.send(f"lookup-{writer}-{strategy}-done", again)
            if not again:
                return

    return step


def _publish_round(ctx: Context, strategy: str, deadline: Deadline) -> bool:
    """The writer's side. Returns: whether there is time for another round."""
    # As in the connector's namespace: the folders exist before any block, blocks are spread over them, and the
    # reader has not been in this one before.
    folder = f"lookup-{ctx.index}-{strategy}"
    names = [f"{folder}/{number}/block" for number in range(LOOKUP_FILES)]
    data = [os.urandom(LOOKUP_BYTES) for _ in names]
    for number in range(LOOKUP_FILES):
        ctx.files.mkdir(ctx.name(folder, str(number)))
    if strategy != ctx.strategy and not ctx.files.supports(ctx.name(folder, "try"), strategy):
        names = []  # nothing to compare
    digests = {name: hashlib.sha256(one).hexdigest() for name, one in zip(names, data, strict=False)}
    ctx.channel.send(folder, digests)
    spent = [ctx.files.publish(ctx.name(name), one, strategy) for name, one in zip(names, data, strict=False)]
    ctx.observed["publishes"] = (
        *ctx.observed.get("publishes", ()),
        *(facts.Publish(strategy, round(seconds, 4)) for seconds in spent),
    )
    return bool(ctx.channel.receive(f"{folder}-done", deadline))


def _lookup_round(ctx: Context, strategy: str, writer: int, deadline: Deadline) -> float:
    """The reader's side: all files at once, as the connector looks up a prompt's blocks. Returns: the slowest."""
    digests = ctx.channel.receive(f"lookup-{writer}-{strategy}", deadline)
    ctx.clock.sleep(PUBLISHED_AFTER_S)

    def look_up(name: str) -> facts.Lookup:
        def right(data: bytes) -> str:
            return "ok" if hashlib.sha256(data).hexdigest() == digests[name] else "wrong"

        first, seconds = poll(ctx, ctx.name(name), right, "ok", deadline)
        return facts.Lookup(strategy, writer, first, seconds)

    with ThreadPoolExecutor(max_workers=LOOKUP_FILES) as pool:
        found = list(pool.map(look_up, digests))
    ctx.observed["lookups"] = (*ctx.observed.get("lookups", ()), *found)
    return max((one.seconds or deadline.seconds for one in found), default=0.0)

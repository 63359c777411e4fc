# SPDX-License-Identifier: Apache-2.0
"""The step about what keeps a cache tidy: times of use, listings, deletion under a reader, names, small files."""

from __future__ import annotations

import os
import statistics
import time

from llmd_storage_hooks.core.clock import Deadline
from llmd_storage_hooks.probe import facts
from llmd_storage_hooks.probe.collect.context import Context, until
from llmd_storage_hooks.probe.collect.files import Files

AGE_S = 3600  # how far back pod 0 sets a file's time of use
LONG_NAME = "n" * 200  # no block's name is longer
FOLDERS = 32  # of the fan-out, one small file each
OPEN_BYTES = 4 * 1024 * 1024


def upkeep(ctx: Context, deadline: Deadline) -> None:
    """Pod 0 changes, pod 1 looks."""
    used, listed, held = (ctx.name("upkeep", name) for name in ("used", "listed", "held"))
    if ctx.index == 0:
        ctx.files.mkdir(ctx.name("upkeep"))
        ctx.files.publish(used, b"4" * 4096, ctx.strategy)
        ctx.files.publish(held, b"5" * OPEN_BYTES, ctx.strategy)
        ctx.mail.meet("upkeep-made", deadline)  # pod 1 has looked at all of it, and holds one open
        then = int(time.time()) - AGE_S
        ctx.files.set_mtime(used, then)
        ctx.files.publish(listed, b"6", ctx.strategy)
        ctx.files.unlink(held)
        ctx.mail.meet("upkeep-changed", deadline, then)
        ctx.found["small"] = _small_files(ctx.files, ctx.name("upkeep"))
        return
    ctx.mail.receive("upkeep-made", deadline)
    ctx.files.mtime(used)
    ctx.files.names(ctx.name("upkeep"))
    with ctx.files.opened(held) as file:
        begun = file.read(4096)
        ctx.mail.send("upkeep-made")
        set_to = float(ctx.mail.receive("upkeep-changed", deadline))
        # A part each, so that what comes later still has its turn.
        listed_s = until(ctx, lambda: "listed" in ctx.files.names(ctx.name("upkeep")), deadline, 3)
        mtime_s = until(ctx, lambda: abs(ctx.files.mtime(used) - set_to) <= 1, deadline, 2)
        ctx.files.doing = f"read the unlinked {held}"
        try:
            rest = "ok" if begun + file.read() == b"5" * OPEN_BYTES else "wrong"
        except OSError as error:
            rest = os.strerror(error.errno or 0)
    ctx.found["upkeep"] = facts.Upkeep(mtime_s, listed_s, rest)
    ctx.mail.send("upkeep-changed")


def _small_files(files: Files, folder: str) -> facts.Small:
    """Medians over a fan-out of folders; one name is as long as a name may get."""
    create, sync = [], []
    for number in range(FOLDERS):
        files.mkdir(f"{folder}/{number:02x}")
        made, synced = files.create_and_sync(f"{folder}/{number:02x}/{LONG_NAME if number == 0 else 'small'}")
        create.append(made)
        sync.append(synced)
    return facts.Small(round(statistics.median(create), 5), round(statistics.median(sync), 5))

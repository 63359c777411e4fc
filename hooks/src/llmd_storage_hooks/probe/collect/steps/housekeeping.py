# SPDX-License-Identifier: Apache-2.0
"""What the evictor does while others read: mtime, listings, deletion under a reader, small files."""

from __future__ import annotations

import os
import statistics
import time

from llmd_storage_hooks.core.clock import Deadline
from llmd_storage_hooks.probe import facts
from llmd_storage_hooks.probe.collect.context import Context, until
from llmd_storage_hooks.probe.collect.files import Files

AGE_S = 3600  # how far back pod 0 sets an mtime
LONG_NAME = "n" * 200  # no block's name is longer
FOLDERS = 32  # of the fan-out, one small file each
OPEN_BYTES = 4 * 1024 * 1024


def housekeeping(ctx: Context, deadline: Deadline) -> None:
    """Pod 0 sets an mtime, adds a file and deletes one that pod 1 reads; pod 1 observes."""
    used, listed, held = (ctx.name("housekeeping", name) for name in ("used", "listed", "held"))
    if ctx.index == 0:
        ctx.files.mkdir(ctx.name("housekeeping"))
        ctx.files.publish(used, b"4" * 4096, ctx.strategy)
        ctx.files.publish(held, b"5" * OPEN_BYTES, ctx.strategy)
        ctx.channel.meet("housekeeping-made", deadline)  # pod 1 has looked at all of it, and holds one open
        then = int(time.time()) - AGE_S
        ctx.files.set_mtime(used, then)
        ctx.files.publish(listed, b"6", ctx.strategy)
        ctx.files.unlink(held)
        ctx.channel.meet("housekeeping-changed", deadline, then)
        ctx.observed["small_files"] = _small_files(ctx.files, ctx.name("housekeeping"))
        return
    ctx.channel.receive("housekeeping-made", deadline)
    ctx.files.mtime(used)
    ctx.files.names(ctx.name("housekeeping"))
    with ctx.files.opened(held) as file:
        begun = file.read(4096)
        ctx.channel.send("housekeeping-made")
        set_to = float(ctx.channel.receive("housekeeping-changed", deadline))
        # A part of the time each, so that there is time for what follows.
        listed_s = until(ctx, lambda: "listed" in ctx.files.names(ctx.name("housekeeping")), deadline, 3)
        mtime_s = until(ctx, lambda: abs(ctx.files.mtime(used) - set_to) <= 1, deadline, 2)
        ctx.files.doing = f"read the unlinked {held}"
        try:
            rest = "ok" if begun + file.read() == b"5" * OPEN_BYTES else "wrong"
        except OSError as error:
            rest = os.strerror(error.errno or 0)
    ctx.observed["housekeeping"] = facts.Housekeeping(mtime_s, listed_s, rest)
    ctx.channel.send("housekeeping-changed")


def _small_files(files: Files, folder: str) -> facts.SmallFiles:
    """Medians over a fan-out of folders; one name is as long as a block's name can be."""
    create, sync = [], []
    for number in range(FOLDERS):
        files.mkdir(f"{folder}/{number:02x}")
        made, synced = files.create_and_sync(f"{folder}/{number:02x}/{LONG_NAME if number == 0 else 'small'}")
        create.append(made)
        sync.append(synced)
    return facts.SmallFiles(round(statistics.median(create), 5), round(statistics.median(sync), 5))

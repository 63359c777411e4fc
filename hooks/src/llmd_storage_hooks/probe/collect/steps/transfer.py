# SPDX-License-Identifier: Apache-2.0
"""Throughput, free space, and reads past the page cache (O_DIRECT)."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from llmd_storage_core.strategies import RENAME_FSYNC
from llmd_storage_hooks.core.clock import Deadline
from llmd_storage_hooks.probe import facts
from llmd_storage_hooks.probe.collect.context import Context

FILES = 8
FILE_BYTES = 4 * 1024 * 1024
DEPTH = 8
_NO_DIRECT = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)


def throughput(ctx: Context, deadline: Deadline) -> None:
    """Pod 0 writes, pod 1 reads what is in none of its caches: one file at a time, then DEPTH at once."""
    if ctx.index == 0:
        ctx.observed["free_bytes"], ctx.observed["total_bytes"] = ctx.files.space()
        ctx.observed["free_inodes"], ctx.observed["total_inodes"] = ctx.files.inodes() or (None, None)
        data = os.urandom(FILE_BYTES)

        def write(name: str) -> object:
            return ctx.files.publish(name, data, RENAME_FSYNC)  # on the storage, not in this node's memory

        for depth in (1, DEPTH):
            ctx.files.mkdir(ctx.name(f"throughput-{depth}"))
            _timed(ctx, "write", depth, write)
            ctx.channel.send(f"throughput-{depth}", hashlib.sha256(data).hexdigest())
            if not ctx.channel.receive(f"throughput-{depth}-done", deadline):
                return
        return
    for depth in (1, DEPTH):
        digest = ctx.channel.receive(f"throughput-{depth}", deadline)
        for name in _names(ctx, depth):  # the first lookup has a step of its own; here only the reads are timed
            ctx.files.owner(name)
        spent = _timed(ctx, "read", depth, ctx.files.read)
        if depth > 1:
            ctx.observed["direct_read"] = read_directly(ctx, _names(ctx, depth)[0], digest)
        # Where one file at a time takes long, DEPTH at once is left out rather than failing the step.
        ctx.channel.send(f"throughput-{depth}-done", deadline.left() > 4 * spent)


def _timed(ctx: Context, direction: str, depth: int, act: Callable[[str], object]) -> float:
    began = time.monotonic()
    with ThreadPoolExecutor(max_workers=depth) as pool:
        list(pool.map(act, _names(ctx, depth)))
    spent = time.monotonic() - began
    moved = facts.Throughput(direction, FILES * FILE_BYTES, spent, depth)
    ctx.observed["throughput"] = (*ctx.observed.get("throughput", ()), moved)
    return spent


def _names(ctx: Context, depth: int) -> list[str]:
    return [ctx.name(f"throughput-{depth}", str(number)) for number in range(FILES)]


def read_directly(ctx: Context, name: str, digest: str) -> facts.DirectRead:
    """Read with O_DIRECT, as the connector does where the filesystem has it."""
    try:
        data = ctx.files.read_direct(name)
    except OSError as error:
        if error.errno not in _NO_DIRECT:
            raise
        return facts.DirectRead("refused", os.strerror(error.errno))
    return facts.DirectRead("ok" if hashlib.sha256(data).hexdigest() == digest else "wrong")

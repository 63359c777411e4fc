# SPDX-License-Identifier: Apache-2.0
"""What POSIX and close-to-open consistency promise between two nodes: rename, permissions, O_EXCL, fresh reads."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from llmd_storage_core.strategies import RENAME
from llmd_storage_hooks.core.clock import Deadline
from llmd_storage_hooks.probe import facts
from llmd_storage_hooks.probe.collect.context import Context, poll

REPLACE_WORDS = 8192  # of 8 bytes
REPLACE_MIN_S = 1.0
REPLACE_MAX_S = 15.0  # where each new version takes seconds to become visible
REPLACE_VERSIONS = 5
EXCLUSIVE_ROUNDS = 50
_NO_REPLACE = (errno.EACCES, errno.EBUSY, errno.EEXIST, errno.EPERM, errno.ETXTBSY)
OVERWRITE_ROUNDS = 4


def replace(ctx: Context, deadline: Deadline) -> None:
    """Pod 0 replaces one file by rename, again and again; pod 1 must only ever see whole versions."""
    target = ctx.name("replace", "target")
    if ctx.index == 0:
        ctx.files.mkdir(ctx.name("replace"))
        ctx.files.publish(target, _version(0), RENAME)
        ctx.channel.send("replace")
        version = 1
        while not ctx.channel.has("replace-done") and not deadline.passed():
            try:
                ctx.files.publish(target, _version(version), RENAME)
            except OSError as error:  # over a file that is open: SMB refuses, and a cache never replaces a block
                if error.errno not in _NO_REPLACE or not ctx.files.doing.startswith("rename "):
                    raise
                ctx.files.unlink(ctx.name("replace", ".target.tmp"))
            version += 1
        ctx.channel.receive("replace-done", deadline)
        return
    ctx.channel.receive("replace", deadline)
    began, enough = ctx.clock.now(), min(deadline.seconds / 2, REPLACE_MAX_S)
    reads = torn = missing = 0
    versions: set[bytes] = set()
    while True:
        try:
            data = ctx.files.read(target)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ESTALE):
                raise
            missing += 1
        else:
            reads += 1
            whole = data == data[:8] * REPLACE_WORDS
            torn += not whole
            versions.add(data[:8])
        spent = ctx.clock.now() - began
        if (spent > REPLACE_MIN_S and len(versions) >= REPLACE_VERSIONS) or spent > enough:
            break
        ctx.clock.sleep(0.001)
    ctx.observed["replace"] = facts.Replace(reads, len(versions), torn, missing)
    ctx.channel.send("replace-done")


def _version(number: int) -> bytes:
    return number.to_bytes(8, "big") * REPLACE_WORDS


def permissions(ctx: Context, deadline: Deadline) -> None:
    """Each pod reads and deletes a file that the other made, in a directory that the other made."""
    mine = f"permissions-{ctx.index}"
    theirs = f"permissions-{1 - ctx.index}"
    ctx.files.mkdir(ctx.name(mine))
    ctx.files.publish(ctx.name(mine, "file"), b"x" * 4096, ctx.strategy)
    owner = ctx.channel.meet("permissions", deadline, [os.geteuid(), os.getegid()])
    name = ctx.name(theirs, "file")
    uid, gid = ctx.files.owner(name)
    ctx.observed["access"] = facts.Access(
        writer=1 - ctx.index,
        written_uid=int(owner[0]),
        written_gid=int(owner[1]),
        seen_uid=uid,
        seen_gid=gid,
        read_error=_error_of(ctx, lambda: ctx.files.read(name)),
        delete_error=_error_of(ctx, lambda: ctx.files.unlink(name)),
    )
    ctx.channel.meet("permissions-done", deadline)


def _error_of(ctx: Context, act: Callable[[], object]) -> str:
    try:
        act()
    except OSError as error:
        text = os.strerror(error.errno or 0)
        if error.errno != errno.EACCES:
            return text
        try:
            return f"{text}; {ctx.files.describe(str(error.filename or ''))}"
        except OSError:
            return text
    return ""


def exclusive(ctx: Context, deadline: Deadline) -> None:
    """Both pods create the same names at the same time: each name must have exactly one winner."""
    if ctx.index == 0:
        ctx.files.mkdir(ctx.name("exclusive"))
    ctx.channel.meet("exclusive", deadline)
    won = [
        number
        for number in range(EXCLUSIVE_ROUNDS)
        if ctx.files.create_exclusive(ctx.name("exclusive", f"{number:02d}"))
    ]
    ctx.observed["exclusive"] = facts.Exclusive(EXCLUSIVE_ROUNDS, tuple(won))
    ctx.channel.meet("exclusive-done", deadline)


def recreate(ctx: Context, deadline: Deadline) -> None:
    """Pod 0 deletes a file and creates it again; how soon does pod 1, which had read it, read the new content?"""
    name, old, new = ctx.name("recreate", "file"), b"1" * 4096, b"2" * 8192

    torn = 0

    def classify(data: bytes) -> str:
        nonlocal torn
        state = "ok" if data == new else "old" if data == old else "wrong"
        torn += state == "wrong"
        return state

    if ctx.index == 0:
        ctx.files.mkdir(ctx.name("recreate"))
        ctx.files.publish(name, old, ctx.strategy)
        ctx.channel.meet("recreate-made", deadline)
        ctx.files.unlink(name)
        ctx.channel.meet("recreate-deleted", deadline)
        ctx.files.publish(name, new, ctx.strategy)
        ctx.channel.meet("recreate-again", deadline)
        return
    ctx.channel.receive("recreate-made", deadline)
    poll(ctx, name, classify, "old", deadline)
    ctx.channel.send("recreate-made")
    ctx.channel.receive("recreate-deleted", deadline)
    gone = poll(ctx, name, classify, "missing", _part(ctx, deadline))[1]
    ctx.channel.send("recreate-deleted")
    ctx.channel.receive("recreate-again", deadline)
    first, seconds = poll(ctx, name, classify, "ok", deadline)
    ctx.observed["recreate"] = facts.Recreate(gone, first, seconds, torn)
    ctx.channel.send("recreate-again")


def overwrite(ctx: Context, deadline: Deadline) -> None:
    """Close-to-open: pod 1 has a file in its caches, pod 0 overwrites and closes it; what does pod 1 then read?"""
    name = ctx.name("overwrite", "file")
    if ctx.index == 0:
        ctx.files.mkdir(ctx.name("overwrite"))
    stale, longest, never = 0, 0.0, False
    for number in range(OVERWRITE_ROUNDS + 1):
        subject, version = f"overwrite-{number}", _version(number)
        if ctx.index == 0:
            ctx.files.overwrite(name, version)
            ctx.channel.meet(subject, deadline)
            continue
        ctx.channel.receive(subject, deadline)
        first, seconds = poll(ctx, name, _is(version), "ok", deadline)
        if number > 0:  # the first time there was nothing in its caches
            stale += first == "old"
            longest, never = max(longest, seconds or 0.0), never or seconds is None
        ctx.channel.send(subject)
    if ctx.index == 1:
        ctx.observed["overwrite"] = facts.Overwrite(OVERWRITE_ROUNDS, stale, None if never else longest)


def _is(version: bytes) -> Callable[[bytes], str]:
    return lambda got: "ok" if got == version else "old"


def _part(ctx: Context, deadline: Deadline) -> Deadline:
    """Half of what is left, so that there is time for the rest of the step."""
    return Deadline.after(ctx.clock, deadline.left() / 2)


def negative(ctx: Context, deadline: Deadline) -> None:
    """Pod 1 looks a name up before it exists; how long is the negative lookup cached?"""
    name, data = ctx.name("negative", "file"), b"3" * 4096
    if ctx.index == 0:
        ctx.files.mkdir(ctx.name("negative"))
        ctx.channel.meet("negative-asked", deadline)
        ctx.files.publish(name, data, ctx.strategy)
        ctx.channel.meet("negative-made", deadline)
        return
    ctx.channel.receive("negative-asked", deadline)
    for _ in range(3):
        poll(ctx, name, lambda _: "ok", "missing", deadline)
    ctx.channel.send("negative-asked")
    ctx.channel.receive("negative-made", deadline)
    first, seconds = poll(ctx, name, lambda got: "ok" if got == data else "wrong", "ok", deadline)
    ctx.observed["negative"] = facts.Negative(first, seconds)
    ctx.channel.send("negative-made")

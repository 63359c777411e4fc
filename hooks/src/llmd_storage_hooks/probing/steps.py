# SPDX-License-Identifier: Apache-2.0
"""The steps that both pods take, in this order, each in its own role. They observe; verdicts come later."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from llmd_storage_hooks.clock import Clock, Deadline
from llmd_storage_hooks.collect.files import Files
from llmd_storage_hooks.probing import seen
from llmd_storage_hooks.probing.mail import Mail
from llmd_storage_hooks.strategies import RENAME, STRATEGIES

LOOKUP_FILES = 4  # a round
PUBLISHED_AFTER_S = 0.5  # what publishing a round may take; a block is usually asked for later than that
LOOKUP_BYTES = 64 * 1024
REPLACE_WORDS = 8192  # of 8 bytes
REPLACE_MIN_S = 1.0
REPLACE_MAX_S = 15.0  # where each new version takes the reader seconds to find
REPLACE_VERSIONS = 5
EXCLUSIVE_ROUNDS = 50
THROUGHPUT_FILES = 8
THROUGHPUT_BYTES = 4 * 1024 * 1024
_POLL_S = 0.01


@dataclass
class Context:
    """What a step works with. `found` collects the fields of `seen.Observations`."""

    index: int
    folder: str  # this run's directory, below the root of `files`
    files: Files
    mail: Mail
    clock: Clock
    strategy: str  # how the connector publishes
    found: dict[str, Any] = field(default_factory=dict)

    def name(self, *parts: str) -> str:
        return "/".join((self.folder, *parts))


Step = Callable[[Context, Deadline], None]


def lookup_from(writer: int) -> Step:
    """First lookup of freshly published files: the connector's way, and (by pod 1) the others for comparison.

    One round a way. The message that starts a round is sent before the files are published, and none in between:
    it would be followed by an fsync, and on CephFS an fsync makes all that came before it visible.
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
                ctx.mail.send(f"lookup-{writer}-{strategy}-done", again)
            if not again:
                return

    return step


def _publish_round(ctx: Context, strategy: str, deadline: Deadline) -> bool:
    """The writer's side. Returns: whether there is time for another round."""
    # As in the connector's namespace: the folders are there before any block, blocks are spread over them, and
    # the reader has never been in this one.
    folder = f"lookup-{ctx.index}-{strategy}"
    names = [f"{folder}/{number}/block" for number in range(LOOKUP_FILES)]
    data = [os.urandom(LOOKUP_BYTES) for _ in names]
    for number in range(LOOKUP_FILES):
        ctx.files.mkdir(ctx.name(folder, str(number)))
    if strategy != ctx.strategy and not ctx.files.supports(ctx.name(folder, "try"), strategy):
        names = []  # nothing to compare
    digests = {name: hashlib.sha256(one).hexdigest() for name, one in zip(names, data, strict=False)}
    ctx.mail.send(folder, digests)
    spent = [ctx.files.publish(ctx.name(name), one, strategy) for name, one in zip(names, data, strict=False)]
    ctx.found["publishes"] = (
        *ctx.found.get("publishes", ()),
        *(seen.Publish(strategy, round(seconds, 4)) for seconds in spent),
    )
    return bool(ctx.mail.receive(f"{folder}-done", deadline))


def _lookup_round(ctx: Context, strategy: str, writer: int, deadline: Deadline) -> float:
    """The reader's side: all files at once, as the connector looks up a prompt's blocks. Returns: the slowest."""
    digests = ctx.mail.receive(f"lookup-{writer}-{strategy}", deadline)
    ctx.clock.sleep(PUBLISHED_AFTER_S)

    def look(name: str) -> seen.Lookup:
        def right(data: bytes) -> str:
            return "ok" if hashlib.sha256(data).hexdigest() == digests[name] else "wrong"

        first, seconds = poll(ctx, ctx.name(name), right, "ok", deadline)
        return seen.Lookup(strategy, writer, first, seconds)

    with ThreadPoolExecutor(max_workers=LOOKUP_FILES) as pool:
        found = list(pool.map(look, digests))
    ctx.found["lookups"] = (*ctx.found.get("lookups", ()), *found)
    return max((one.seconds or deadline.seconds for one in found), default=0.0)


def poll(
    ctx: Context, name: str, judge: Callable[[bytes], str], wanted: str, deadline: Deadline
) -> tuple[str, float | None]:
    """Read `name` until `judge` says `wanted` ("missing" = no such file). Leaves a second before the deadline,
    so that the step can still report.

    Returns: the first verdict, and the seconds until the wanted one (None = it never came).
    """
    began = time.monotonic()
    first = ""
    while True:
        try:
            verdict = judge(ctx.files.read(name))
        except FileNotFoundError:
            verdict = "missing"
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
            verdict = "missing"
        first = first or verdict
        if verdict == wanted:
            return first, time.monotonic() - began
        if deadline.left() < min(1.0, deadline.seconds / 4):
            return first, None
        ctx.clock.sleep(_POLL_S)


def replace(ctx: Context, deadline: Deadline) -> None:
    """Pod 0 replaces one file by rename, again and again; pod 1 must only ever see whole versions."""
    target = ctx.name("replace", "target")
    if ctx.index == 0:
        ctx.files.mkdir(ctx.name("replace"))
        ctx.files.publish(target, _version(0), RENAME)
        ctx.mail.send("replace")
        version = 1
        while not ctx.mail.has("replace-done") and not deadline.passed():
            ctx.files.publish(target, _version(version), RENAME)
            version += 1
        ctx.mail.receive("replace-done", deadline)
        return
    ctx.mail.receive("replace", deadline)
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
    ctx.found["replace"] = seen.Replace(reads, len(versions), torn, missing)
    ctx.mail.send("replace-done")


def _version(number: int) -> bytes:
    return number.to_bytes(8, "big") * REPLACE_WORDS


def permissions(ctx: Context, deadline: Deadline) -> None:
    """Each pod reads and deletes a file that the other made, in a directory that the other made."""
    mine = f"permissions-{ctx.index}"
    theirs = f"permissions-{1 - ctx.index}"
    ctx.files.mkdir(ctx.name(mine))
    ctx.files.publish(ctx.name(mine, "file"), b"x" * 4096, ctx.strategy)
    owner = ctx.mail.meet("permissions", deadline, [os.geteuid(), os.getegid()])
    name = ctx.name(theirs, "file")
    uid, gid = ctx.files.owner(name)
    ctx.found["access"] = seen.Access(
        writer=1 - ctx.index,
        written_uid=int(owner[0]),
        written_gid=int(owner[1]),
        seen_uid=uid,
        seen_gid=gid,
        read_error=_error_of(lambda: ctx.files.read(name)),
        delete_error=_error_of(lambda: ctx.files.unlink(name)),
    )
    ctx.mail.meet("permissions-done", deadline)


def _error_of(act: Callable[[], object]) -> str:
    try:
        act()
    except OSError as error:
        return os.strerror(error.errno or 0)
    return ""


def exclusive(ctx: Context, deadline: Deadline) -> None:
    """Both pods create the same names at the same time: each name must have exactly one winner."""
    if ctx.index == 0:
        ctx.files.mkdir(ctx.name("exclusive"))
    ctx.mail.meet("exclusive", deadline)
    won = [
        number
        for number in range(EXCLUSIVE_ROUNDS)
        if ctx.files.create_exclusive(ctx.name("exclusive", f"{number:02d}"))
    ]
    ctx.found["exclusive"] = seen.Exclusive(EXCLUSIVE_ROUNDS, tuple(won))
    ctx.mail.meet("exclusive-done", deadline)


def recreate(ctx: Context, deadline: Deadline) -> None:
    """A file is read, deleted and made again with other content: the reader must follow."""
    name, old, new = ctx.name("recreate", "file"), b"1" * 4096, b"2" * 8192

    def judge(data: bytes) -> str:
        return "ok" if data == new else "old" if data == old else "wrong"

    if ctx.index == 0:
        ctx.files.mkdir(ctx.name("recreate"))
        ctx.files.publish(name, old, ctx.strategy)
        ctx.mail.meet("recreate-made", deadline)
        ctx.files.unlink(name)
        ctx.mail.meet("recreate-deleted", deadline)
        ctx.files.publish(name, new, ctx.strategy)
        ctx.mail.meet("recreate-again", deadline)
        return
    ctx.mail.receive("recreate-made", deadline)
    poll(ctx, name, judge, "old", deadline)
    ctx.mail.send("recreate-made")
    ctx.mail.receive("recreate-deleted", deadline)
    gone = poll(ctx, name, judge, "missing", _part(ctx, deadline))[1]
    ctx.mail.send("recreate-deleted")
    ctx.mail.receive("recreate-again", deadline)
    first, seconds = poll(ctx, name, judge, "ok", deadline)
    ctx.found["recreate"] = seen.Recreate(gone, first, seconds)
    ctx.mail.send("recreate-again")


def _part(ctx: Context, deadline: Deadline) -> Deadline:
    """Half of what is left, so that the second half of a step still has its turn."""
    return Deadline.after(ctx.clock, deadline.left() / 2)


def negative(ctx: Context, deadline: Deadline) -> None:
    """Pod 1 asks for a name before it exists; how long does it go on believing that it does not?"""
    name, data = ctx.name("negative", "file"), b"3" * 4096
    if ctx.index == 0:
        ctx.files.mkdir(ctx.name("negative"))
        ctx.mail.meet("negative-asked", deadline)
        ctx.files.publish(name, data, ctx.strategy)
        ctx.mail.meet("negative-made", deadline)
        return
    ctx.mail.receive("negative-asked", deadline)
    for _ in range(3):
        poll(ctx, name, lambda _: "ok", "missing", deadline)
    ctx.mail.send("negative-asked")
    ctx.mail.receive("negative-made", deadline)
    first, seconds = poll(ctx, name, lambda got: "ok" if got == data else "wrong", "ok", deadline)
    ctx.found["negative"] = seen.Negative(first, seconds)
    ctx.mail.send("negative-made")


def throughput(ctx: Context, deadline: Deadline) -> None:
    """Pod 0 writes, pod 1 reads what it never saw before: one file at a time, as the slowest reader would."""
    size = THROUGHPUT_FILES * THROUGHPUT_BYTES
    files = [ctx.name("throughput", str(number)) for number in range(THROUGHPUT_FILES)]
    if ctx.index == 0:
        ctx.found["free_bytes"] = ctx.files.free_bytes()
        ctx.files.mkdir(ctx.name("throughput"))
        data = os.urandom(THROUGHPUT_BYTES)
        spent = sum(ctx.files.publish(name, data, ctx.strategy) for name in files)
        ctx.found["throughput"] = (seen.Throughput("write", size, spent),)
        ctx.mail.send("throughput")
        ctx.mail.receive("throughput-done", deadline)
        return
    ctx.mail.receive("throughput", deadline)
    for name in files:  # the first lookup has its own step; here it is the reading that counts
        ctx.files.owner(name)
    began = time.monotonic()
    for name in files:
        ctx.files.read(name)
    ctx.found["throughput"] = (seen.Throughput("read", size, time.monotonic() - began),)
    ctx.mail.send("throughput-done")


STEPS: tuple[tuple[str, Step], ...] = (
    ("lookup by pod 1", lookup_from(0)),
    ("lookup by pod 0", lookup_from(1)),
    ("replace", replace),
    ("permissions", permissions),
    ("exclusive create", exclusive),
    ("delete and re-create", recreate),
    ("negative lookup", negative),
    ("throughput", throughput),
)

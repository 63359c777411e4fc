# SPDX-License-Identifier: Apache-2.0
"""What is found out of a mount by trying it with a file. Every function may hang, as storage does."""

from __future__ import annotations

import contextlib
import errno
import math
import mmap
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from llmd_storage_connector.blocks import layout
from llmd_storage_connector.blocks.files import READ, write_past_cache
from llmd_storage_connector.blocks.format import ALIGNMENT, BlockSpec
from llmd_storage_connector.blocks.mounts import filesystem_of
from llmd_storage_connector.blocks.namespace import WRITE_REFUSED
from llmd_storage_connector.blocks.publish import choose
from llmd_storage_connector.blocks.result import BlockResult, reason_of
from llmd_storage_core import publish, strategies
from llmd_storage_core.scratch import scratch_name

# Storage where a small file is made and removed in less than this takes next to no time for a call.
_LOW_LATENCY_S = 0.002
_TRIAL_BYTES = 4 << 20
# Blocks from this size on are written past the page cache: a copy less. Smaller ones wait longer for the disk than that
# takes (docs/decisions/0003-transfers.md).
WRITTEN_PAST_CACHE_BYTES = 1 << 20
# What filesystems answer that do not go past the page cache.
REFUSES_DIRECT_IO = (errno.EINVAL, errno.EOPNOTSUPP)
# What chown(2) takes for "leave it": no file has this owner.
_NOBODY = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Mount:
    """What is known of a namespace's mount. owners, group: whose files are believed to be blocks.

    read_flags: of open(2), for blocks. publish_strategy: a name of strategies.STRATEGIES, "" when not known.
    create_remove_s: seconds in which a small file is made and removed; not known: as on storage far away.
    is_written_past_cache: whether blocks are, whose rows begin on a page.
    """

    owners: frozenset[int] = frozenset()
    group: int = -1
    read_flags: int = READ
    publish_strategy: str = ""
    create_remove_s: float = math.inf
    is_written_past_cache: bool = False

    @property
    def is_read_past_cache(self) -> bool:
        """Whether nobody reads the page cache, so that what was written need not stay there."""
        return bool(self.read_flags & os.O_DIRECT)

    @property
    def keeps_written(self) -> bool:
        """Whether blocks stay in the page cache for nobody after they were published, since that did not sync them."""
        is_gone = self.is_written_past_cache or self.publish_strategy == strategies.RENAME_FSYNC
        return self.is_read_past_cache and not is_gone

    @property
    def owner_pair(self) -> tuple[int, int]:
        """The owners, of which there are two at most; nobody before the mount is known."""
        return min(self.owners, default=_NOBODY), max(self.owners, default=_NOBODY)

    @property
    def is_low_latency(self) -> bool:
        """Whether a call to storage takes next to no time."""
        return self.create_remove_s < _LOW_LATENCY_S


def probe_mount(folder: Path, spec: BlockSpec, *, strategy: str, direct_io: str, writable: bool) -> Mount:
    """strategy: a name of strategies.STRATEGIES, or "auto"; direct_io: "auto", "on" or "off". Raises: OSError.

    writable: whether the namespace takes files. If not nothing can be tried, and what is right everywhere has to do.
    """
    found = os.stat(folder)
    scratch = f"{folder}/{layout.DAMAGED}"
    aligned = spec.payload_bytes % ALIGNMENT == 0
    direct = direct_io == "on" or (direct_io == "auto" and aligned and writable and supports_direct_io(scratch))
    is_large = aligned and spec.payload_bytes >= WRITTEN_PAST_CACHE_BYTES
    if writable:
        create_remove_s = min(create_remove_seconds(scratch) for _ in range(3))
        strategy = choose(strategy, filesystem_of(os.path.realpath(folder)), scratch, spec.file_bytes)
    else:
        create_remove_s = math.inf
        strategy = strategies.DEFAULT if strategy == strategies.AUTO else strategy
    return Mount(
        owners=frozenset({found.st_uid, os.geteuid()}),
        group=found.st_gid,
        read_flags=READ | os.O_DIRECT if direct else READ,
        publish_strategy=strategy,
        create_remove_s=create_remove_s,
        is_written_past_cache=direct and is_large and writable and supports_direct_io(scratch, written=True),
    )


def is_healthy(folder: str, read_flags: int) -> bool:
    """Whether a small file goes all the way to storage, is read back, and is removed again.

    A stat would not do: a client's cache may answer for a server that is gone. Where writing is refused (read only,
    full, not ours) a look at the folder has to do.
    """
    try:
        return is_readable_back(folder, read_flags)
    except OSError as error:
        return error.errno in WRITE_REFUSED and os.access(folder, os.R_OK | os.X_OK)


def try_writing(folder: str, file_bytes: int) -> BlockResult:
    """Whether a file of a block's size (at most 4 MiB) can be written; it is removed again."""
    name, scratch = scratch_name(secrets.token_hex(6), 0), f"{folder}/{layout.DAMAGED}"
    try:
        publish.publish(strategies.DEFAULT, scratch, name, publish.whole([bytes(min(file_bytes, _TRIAL_BYTES))]))
        os.unlink(f"{scratch}/{name}")
    except OSError as error:
        return BlockResult(False, reason_of(error))
    return BlockResult(True)


def is_readable_back(folder: str, flags: int, *, written_past_cache: bool = False) -> bool:
    """Whether a page that is written is read again, by a descriptor opened with `flags`. Raises: OSError."""
    page = mmap.mmap(-1, ALIGNMENT)
    page[:5] = b"trial"
    name = scratch_name(secrets.token_hex(6), 0)
    path = f"{folder}/{name}"
    write = publish.whole([memoryview(page)])

    def write_past(fd: int) -> None:
        write_past_cache(fd)
        write(fd)

    publish.publish("exclusive", folder, name, write_past if written_past_cache else write)
    try:
        fd = os.open(path, flags)
        try:
            page[:5] = bytes(5)
            return os.preadv(fd, [page], 0) == len(page) and page[:5] == b"trial"
        finally:
            os.close(fd)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)


def create_remove_seconds(folder: str) -> float:
    """Seconds to make a small file and remove it. Not to read it: past the page cache that waits for the disk.

    Raises: OSError.
    """
    name = scratch_name(secrets.token_hex(6), 0)
    began = time.perf_counter()
    publish.publish("exclusive", folder, name, publish.whole([b"trial"]))
    os.unlink(f"{folder}/{name}")
    return time.perf_counter() - began


def supports_direct_io(folder: str, *, written: bool = False) -> bool:
    """Whether a file can be read past the page cache; written: and be written so.

    Raises: OSError other than a refusal of that.
    """
    try:
        return is_readable_back(folder, READ | os.O_DIRECT, written_past_cache=written)
    except OSError as error:
        if error.errno in REFUSES_DIRECT_IO:
            return False
        raise

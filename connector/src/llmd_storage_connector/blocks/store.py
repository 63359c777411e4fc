# SPDX-License-Identifier: Apache-2.0
"""One block: look up, read, write, touch. Every doubt is an outcome, never an exception and never a byte.

A block is moved in stripes, each through the buffer of the thread that moves it, so that several threads can read
one block and no thread needs memory for a whole one.

Thread: all methods from any thread. What they share (folders, way to publish) is replaced as a whole.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import secrets
import stat
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from llmd_storage_connector.blocks import format as block_format
from llmd_storage_connector.blocks import layout, publish
from llmd_storage_connector.blocks.files import READ, comes_back, seconds_to_come_and_go, takes_direct_io, write_all
from llmd_storage_connector.blocks.folders import Folder, Folders
from llmd_storage_connector.blocks.format import BlockSpec
from llmd_storage_connector.blocks.mounts import filesystem_of
from llmd_storage_connector.blocks.namespace import WRITE_REFUSED, open_namespace
from llmd_storage_connector.blocks.reader import BlockBuffer, Reading
from llmd_storage_connector.blocks.result import UNFINISHED, Outcome, outcome_of, reason_of
from llmd_storage_connector.errors import Corrupt, Rule, Unusable

# Under vLLM's logger, so that its handlers and level apply.
logger = logging.getLogger("vllm.llmd_storage_connector.blocks.store")

_OPEN_THREADS = 16
# A file this young may still be being written by a node that creates under the final name.
UNFINISHED_GRACE_S = 60.0
# Storage where a small file is made and removed in less than this answers without a way to go.
_QUICK_S = 0.002
# Blocks are aged by mtime; one younger than this is not refreshed, which saves a round trip a read. Where blocks live
# for less than hours, the evictor advises less.
TOUCH_AFTER_S = 3600.0

# Takes the bytes of a block from an offset on. Raises: GivenUp when nobody wants them any more.
Sink = Callable[[int, memoryview], None]
# Gives so many bytes of a block from an offset on, and their checksum, taken while they surely were the block's. They
# may change later, when the block is given up while a write of it hangs: what is written then does not match.
# Raises: GivenUp.
Source = Callable[[int, int], tuple[memoryview, int]]


class BlockStore:
    """The blocks of one namespace."""

    def __init__(
        self,
        root: Path,
        facts: Mapping[str, Any],
        spec: BlockSpec,
        strategy: str,
        *,
        direct_io: str = "auto",
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """way, come_and_go_s (seconds in which a small file is made and removed): known once it is open.

        strategy: a name of publish.STRATEGIES, or "auto". direct_io: whether blocks are read past the page cache:
        "auto" (wherever that works: as quick, for half the processor time), "on" or "off". Writes never are: the
        filesystem may gather them.
        """
        self.spec = spec
        self.way = ""
        self.come_and_go_s = math.inf  # unknown: as on storage far away
        self.touch_after_s = TOUCH_AFTER_S
        self._wanted_way = strategy
        self._wants_direct = direct_io
        self._read_flags = READ
        self._root = root
        self._facts = facts
        self._now = wall_clock
        self._folders = Folders()
        self._owners: tuple[set[int], int] = (set(), -1)
        self._opening = threading.Lock()

    def open(self) -> None:
        """Make or find the namespace, and decide how to publish. Requires: called first. Raises: Unusable."""
        with self._opening:
            folder = str(open_namespace(self._root, self._facts, self._settle_in))
            folders = Folders(folder)
            try:
                folders.open_all(layout.fanout_names(), _OPEN_THREADS)
            except OSError as error:
                raise Unusable(
                    f"{folder} cannot be read: {error.strerror} at {error.filename}", passing=True
                ) from error
            self._folders = folders

    def _settle_in(self, folder: Path, writable: bool) -> None:
        """What has to be learnt of the namespace before it is used. Raises: OSError."""
        found = os.stat(folder)
        self._owners = ({found.st_uid, os.geteuid()}, found.st_gid)
        scratch = f"{folder}/{layout.DAMAGED}"
        aligned = self.spec.payload_bytes % block_format.ALIGNMENT == 0
        if self._wants_direct == "on" or (
            self._wants_direct == "auto" and aligned and writable and takes_direct_io(scratch)
        ):
            self._read_flags = READ | os.O_DIRECT
        if not writable:
            # Nothing can be tried: by the time it takes files again, what is right everywhere has to do.
            self.way = publish.DEFAULT if self._wanted_way == publish.AUTO else self._wanted_way
            return
        self.come_and_go_s = min(seconds_to_come_and_go(scratch) for _ in range(3))
        self.way = self.way or publish.chosen(
            self._wanted_way, filesystem_of(os.path.realpath(folder)), scratch, self.spec.file_bytes
        )

    @property
    def is_quick(self) -> bool:
        """Whether the storage answers without a way to go."""
        return self.come_and_go_s < _QUICK_S

    @property
    def folder(self) -> str:
        """The namespace's; "" before it is open."""
        return self._folders.root

    def reopen_folders(self) -> None:
        """Forget what may be tied to a mount that is gone. Thread: any; opens nothing by itself."""
        self._folders.forget()

    def path(self, key: bytes) -> str:
        """Where the block is, if it is there."""
        return f"{self.folder}/{layout.block_folder(key)}/{layout.block_name(key)}"

    def contains(self, key: bytes) -> Outcome:
        """Whether a file of the right kind, owner and length has the block's name: one stat."""
        try:
            folder = self._folders.at(layout.block_folder(key))
            found = os.stat(layout.block_name(key), dir_fd=folder.fd, follow_symlinks=False)
        except OSError as error:
            return Outcome(False, reason_of(error))
        return self._judge(found)

    def open_block(self, key: bytes) -> Reading | Outcome:
        """Begin to read the block; the outcome when it cannot be had."""
        try:
            folder = self._folders.at(layout.block_folder(key))
            fd = os.open(layout.block_name(key), self._read_flags, dir_fd=folder.fd)
        except OSError as error:
            if error.errno == errno.ELOOP:
                return Outcome(False, Rule.NOT_REGULAR.value)
            # Past the page cache only files can be opened: look what this is.
            judged = self.contains(key) if error.errno == errno.EINVAL else Outcome(False)
            return judged if judged.reason else Outcome(False, reason_of(error))
        try:
            judged = self._judge(os.fstat(fd))
        except OSError as error:
            judged = Outcome(False, reason_of(error))
        reading = Reading(self.spec, key, fd, judged.refresh)
        if judged.ok:
            return reading
        reading.close()
        return judged

    def get(self, key: bytes, buffer: BlockBuffer, sink: Sink) -> Outcome:
        """Read the block alone, handing each stripe to `sink` before it is checked.

        Ensures: on ok, what `sink` got is what was stored under this key by an engine of this identity.
        Raises: what `sink` raises.
        """
        reading = self.open_block(key)
        if isinstance(reading, Outcome):
            return reading
        try:
            for index in range(self.spec.stripe_count):
                sink(index * self.spec.stripe_bytes, reading.read(index, buffer))
            return reading.check()
        except (OSError, Corrupt) as error:
            return outcome_of(error)
        finally:
            reading.close()

    def get_again(self, key: bytes, buffer: BlockBuffer, sink: Sink) -> Outcome:
        """Read a block once more that was damaged: another node may have been writing it. Still so: set aside."""
        outcome = self.get(key, buffer, sink)
        if outcome.damaged:
            logger.warning("block file %s is damaged (%s): not used", self.path(key), outcome.reason)
            self._set_aside(key)
        return outcome

    def put(self, key: bytes, source: Source) -> Outcome:
        """Publish what `source` gives as the block; a block that is there is refreshed instead.

        Raises: what `source` raises; nothing is published then.
        """
        # Creating under the final name finds out by itself; the other ways would replace a block that is there.
        present = Outcome(False) if self.way == "exclusive" else self.contains(key)
        for _ in range(2):
            if present.ok:
                if present.refresh:
                    self.touch(key)
                return Outcome(True, existed=True)
            if present.damaged:
                self._set_aside(key)
            try:
                if self._publish(key, lambda fd: self._write(fd, key, source)):
                    return Outcome(True)
            except OSError as error:
                return Outcome(False, reason_of(error))
            present = self.contains(key)
        return Outcome(True, existed=True) if present.ok else Outcome(False, UNFINISHED)

    def answers(self) -> bool:
        """Whether storage is well: a small file goes all the way there, is read back, and is removed again.

        A stat would not do: a client's cache may answer for a server that is gone. Where writing is refused (read
        only, full, not ours) a look at the folder has to do. May hang.
        """
        if not self.folder:
            return False  # not opened yet
        self.reopen_folders()
        try:
            return comes_back(self.folder, self._read_flags)
        except OSError as error:
            return error.errno in WRITE_REFUSED and os.access(self.folder, os.R_OK | os.X_OK)

    def try_writing(self) -> Outcome:
        """Whether a file of a block's size (at most 4 MiB) can be written; it is removed again. May hang."""
        name, scratch = layout.scratch_name(secrets.token_hex(6), 0), f"{self.folder}/{layout.DAMAGED}"
        try:
            publish.publish(publish.DEFAULT, scratch, name, publish.whole([bytes(min(self.spec.file_bytes, 4 << 20))]))
            os.unlink(f"{scratch}/{name}")
        except OSError as error:
            return Outcome(False, reason_of(error))
        return Outcome(True)

    def touch(self, key: bytes) -> None:
        """Mark the block as used now. Failure is no one's loss."""
        try:
            os.utime(self.path(key), follow_symlinks=False)
        except OSError:
            logger.debug("could not refresh %s", self.path(key), exc_info=True)

    def _publish(self, key: bytes, write: publish.Write) -> bool:
        try:
            return self._publish_in(self._folders.at(layout.block_folder(key)), key, write)
        except FileNotFoundError:
            # Someone removed the folder (an abandoned namespace was swept while this engine lived).
            self.open()
            return self._publish_in(self._folders.at(layout.block_folder(key)), key, write)

    def _publish_in(self, folder: Folder, key: bytes, write: publish.Write) -> bool:
        return publish.publish(self.way, folder.fd, layout.block_name(key), write)

    def _write(self, fd: int, key: bytes, source: Source) -> None:
        """The first stripe goes last, together with the header that says what all of them hash to."""
        spec = self.spec
        checksums = [0] * spec.stripe_count
        for index in (*range(1, spec.stripe_count), 0):
            at = index * spec.stripe_bytes
            payload, checksums[index] = source(at, min(spec.stripe_bytes, spec.payload_bytes - at))
            if index > 0:
                write_all(fd, [payload], spec.header_bytes + at)
            else:
                write_all(fd, [memoryview(block_format.header_of(spec, key, checksums)), payload], 0)

    def _judge(self, found: os.stat_result) -> Outcome:
        if not stat.S_ISREG(found.st_mode):
            return Outcome(False, Rule.NOT_REGULAR.value)
        users, group = self._owners
        if found.st_uid not in users and found.st_gid != group:
            return Outcome(False, Rule.OWNER.value)
        age_s = self._now() - found.st_mtime
        if found.st_size != self.spec.file_bytes:
            unfinished = found.st_size < self.spec.file_bytes and age_s < UNFINISHED_GRACE_S
            return Outcome(False, Rule.LENGTH.value, damaged=not unfinished)
        return Outcome(True, refresh=age_s > self.touch_after_s)

    def _set_aside(self, key: bytes) -> None:
        """Out of the way, so that the block can be stored again; kept, so that someone can look."""
        path = self.path(key)
        try:
            found = os.stat(path, follow_symlinks=False)
            # Where files are created under their final name, a young one may be another node's unfinished work.
            if self.way == "exclusive" and self._now() - found.st_mtime < UNFINISHED_GRACE_S:
                return
            os.rename(path, f"{self.folder}/{layout.DAMAGED}/{layout.block_name(key)}")
        except OSError:
            logger.debug("could not set %s aside", path, exc_info=True)

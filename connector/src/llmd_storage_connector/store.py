# SPDX-License-Identifier: Apache-2.0
"""One block: put, get, contains, touch. Every doubt is an outcome, never an exception and never a byte.

Thread: all methods from any thread; no shared state.
"""

from __future__ import annotations

import errno
import logging
import mmap
import os
import secrets
import stat
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmd_storage_connector import format as block_format
from llmd_storage_connector import layout
from llmd_storage_connector.errors import Corrupt, Rule
from llmd_storage_connector.format import BlockSpec
from llmd_storage_connector.namespace import open_namespace
from llmd_storage_connector.publish import DEFAULT, chosen, publish

# Under vLLM's logger, so that its handlers and level apply.
logger = logging.getLogger("vllm.llmd_storage_connector.store")

ABSENT = "absent"
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
# A file this young may still be being written by a node that creates under the final name.
UNFINISHED_GRACE_S = 60.0
_WRITE_REFUSED = {errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM}
# Blocks are aged by mtime; one younger than this is not refreshed, which saves a round trip a read.
TOUCH_AFTER_S = 3600.0


class BlockBuffer:
    """Page-aligned memory for one block file, header and payload. Owned by one thread."""

    def __init__(self, spec: BlockSpec) -> None:
        self._memory = mmap.mmap(-1, spec.file_bytes)
        self.whole = memoryview(self._memory)
        self.header = self.whole[: spec.header_bytes]
        self.payload = self.whole[spec.header_bytes :]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one operation. reason: why not (a metrics label); refresh: its mtime is old."""

    ok: bool
    reason: str = ""
    existed: bool = False
    refresh: bool = False
    damaged: bool = False


class BlockStore:
    """The blocks of one namespace."""

    def __init__(
        self,
        root: Path,
        facts: Mapping[str, Any],
        spec: BlockSpec,
        strategy: str,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.spec = spec
        self.strategy = chosen(strategy)
        self._root = root
        self._facts = facts
        self._now = wall_clock
        self._folder = ""

    def open(self) -> None:
        """Make or find the namespace. Requires: called before everything else. Raises: Unusable."""
        self._folder = str(open_namespace(self._root, self._facts))

    def path(self, key: bytes) -> str:
        """Where the block is, if it is there."""
        return f"{self._folder_of(key)}/{layout.block_name(key)}"

    def contains(self, key: bytes) -> Outcome:
        """Whether a file of the right kind and length has the block's name: one stat."""
        try:
            found = os.stat(self.path(key), follow_symlinks=False)
        except OSError as error:
            return Outcome(False, _reason(error))
        return self._judge(found)

    def get(self, key: bytes, buffer: BlockBuffer) -> Outcome:
        """Read and check the block into `buffer`.

        Ensures: on ok, buffer.payload is what was stored under this key by an engine of this identity. A
        damaged file is read a second time, then set aside.
        """
        outcome = self._read(key, buffer)
        if outcome.damaged:
            outcome = self._read(key, buffer)
            if outcome.damaged:
                logger.warning("block file %s is damaged (%s): not used", self.path(key), outcome.reason)
                self._set_aside(key, outcome.reason)
        return outcome

    def put(self, key: bytes, buffer: BlockBuffer) -> Outcome:
        """Publish buffer.payload as the block; a block that is there is refreshed instead."""
        present = self.contains(key)
        if present.ok:
            if present.refresh:
                self.touch(key)
            return Outcome(True, existed=True)
        if present.damaged:
            self._set_aside(key, present.reason)
        buffer.header[:] = block_format.encode_header(self.spec, key, buffer.payload)
        try:
            published = self._publish(key, buffer)
        except OSError as error:
            return Outcome(False, _reason(error))
        return Outcome(True, existed=not published)

    def answers(self) -> bool:
        """Whether storage is well: a small file goes all the way there and is removed again.

        A stat would not do: a client's cache may answer for a server that is gone. Where writing is refused (read
        only, full, not ours) a look at the folder has to do. May hang.
        """
        if not self._folder:
            return False  # not opened yet
        name = layout.scratch_name(secrets.token_hex(6), 0)
        try:
            publish(DEFAULT, self._folder, name, [b"trial"])
            os.unlink(f"{self._folder}/{name}")
        except OSError as error:
            return error.errno in _WRITE_REFUSED and os.access(self._folder, os.R_OK | os.X_OK)
        return True

    def touch(self, key: bytes) -> None:
        """Mark the block as used now. Failure is no one's loss."""
        try:
            os.utime(self.path(key), follow_symlinks=False)
        except OSError:
            logger.debug("could not refresh %s", self.path(key), exc_info=True)

    def _publish(self, key: bytes, buffer: BlockBuffer) -> bool:
        folder, name = self._folder_of(key), layout.block_name(key)
        try:
            return publish(self.strategy, folder, name, [buffer.whole])
        except FileNotFoundError:
            # Someone removed the folder (an abandoned namespace was swept while this engine lived).
            self.open()
            return publish(self.strategy, folder, name, [buffer.whole])

    def _read(self, key: bytes, buffer: BlockBuffer) -> Outcome:
        try:
            fd = os.open(self.path(key), _READ)
        except OSError as error:
            return Outcome(False, Rule.NOT_REGULAR.value if error.errno == errno.ELOOP else _reason(error))
        try:
            judged = self._judge(os.fstat(fd))
            if not judged.ok:
                return judged
            length = _read_all(fd, buffer.whole)
            block_format.check(self.spec, key, buffer.whole[:length])
        except OSError as error:
            return Outcome(False, _reason(error))
        except Corrupt as error:
            return Outcome(False, error.rule.value, damaged=True)
        finally:
            os.close(fd)
        return judged

    def _judge(self, found: os.stat_result) -> Outcome:
        if not stat.S_ISREG(found.st_mode):
            return Outcome(False, Rule.NOT_REGULAR.value)
        age_s = self._now() - found.st_mtime
        if found.st_size != self.spec.file_bytes:
            unfinished = found.st_size < self.spec.file_bytes and age_s < UNFINISHED_GRACE_S
            return Outcome(False, Rule.LENGTH.value, damaged=not unfinished)
        return Outcome(True, refresh=age_s > TOUCH_AFTER_S)

    def _set_aside(self, key: bytes, reason: str) -> None:
        """Out of the way, so that the block can be stored again; kept, so that someone can look."""
        if self.strategy == "exclusive" and reason != Rule.LENGTH.value:
            try:
                if self._now() - os.stat(self.path(key)).st_mtime < UNFINISHED_GRACE_S:
                    return
            except OSError:
                return
        try:
            os.rename(self.path(key), f"{self._folder}/{layout.DAMAGED}/{layout.block_name(key)}")
        except OSError:
            logger.debug("could not set %s aside", self.path(key), exc_info=True)

    def _folder_of(self, key: bytes) -> str:
        return f"{self._folder}/{layout.block_folder(key)}"


def _read_all(fd: int, target: memoryview) -> int:
    """Fill `target` from the file's start; the length that was there."""
    done = 0
    while done < len(target):
        count = os.preadv(fd, [target[done:]], done)
        if count == 0:
            break
        done += count
    return done


def _reason(error: OSError) -> str:
    """A short label: 'absent', or the error's symbol in lower case."""
    if error.errno == errno.ENOENT:
        return ABSENT
    return errno.errorcode.get(error.errno or 0, "unknown").lower()

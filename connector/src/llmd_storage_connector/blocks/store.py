# SPDX-License-Identifier: Apache-2.0
"""One block: look up, read, write, refresh. Every doubt is a result, never an exception and never a byte.

A block is moved in stripes, each through the buffer of the thread that moves it, so that several threads can read
one block and no thread needs memory for a whole one.

Thread: all methods from any thread. What they share (folders, the mount) is replaced as a whole.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmd_storage_connector.blocks import layout
from llmd_storage_connector.blocks.buffer import BlockBuffer
from llmd_storage_connector.blocks.data_path import DataPath, Move, Row
from llmd_storage_connector.blocks.file_check import FileStat, check_file
from llmd_storage_connector.blocks.files import refresh_mtime
from llmd_storage_connector.blocks.folders import Folders
from llmd_storage_connector.blocks.format import BlockSpec
from llmd_storage_connector.blocks.gate import Gate
from llmd_storage_connector.blocks.mount_probe import (
    REFUSES_DIRECT_IO,
    Mount,
    is_healthy,
    probe_mount,
    try_writing,
)
from llmd_storage_connector.blocks.namespace import complete, open_namespace, unusable
from llmd_storage_connector.blocks.native import best_path
from llmd_storage_connector.blocks.page_cache import forget_pages
from llmd_storage_connector.blocks.quarantine import is_of_another_shape, quarantine
from llmd_storage_connector.blocks.result import LOADED, LOADED_OLD, UNFINISHED, BlockResult, reason_of, result_of
from llmd_storage_connector.blocks.run import Run
from llmd_storage_connector.errors import Cancelled, Rule, Unusable
from llmd_storage_connector.telemetry.rate_limited_log import RateLimitedLog
from llmd_storage_core import publish

# Under vLLM's logger, so that its handlers and level apply.
logger = logging.getLogger("vllm.llmd_storage_connector.blocks.store")

_OPEN_THREADS = 16
# Blocks are aged by mtime; one younger than this is not refreshed, which saves a round trip a read. Where blocks live
# for less than hours, the evictor advises less.
REFRESH_AFTER_S = 3600.0


class BlockStore:
    """The blocks of one namespace."""

    def __init__(
        self,
        root: Path,
        facts: Mapping[str, Any],
        spec: BlockSpec,
        strategy: str,
        *,
        model: str = "",
        direct_io: str = "auto",
        path: DataPath | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """strategy: a name of strategies.STRATEGIES, or "auto". model: its name, for people. direct_io: whether blocks
        are read, and large ones written, past the page cache: "auto" (wherever that works: as quick, for half the
        processor time), "on" or "off". path: what moves the bytes; the best there is.
        """
        self.spec = spec
        self.refresh_after_s = REFRESH_AFTER_S
        self._strategy = strategy
        self._direct_io = direct_io
        self._root = root
        self._facts = facts
        self._model = model
        self.data_path = path or best_path()
        self._now = wall_clock
        self._folders = Folders()
        self.mount = Mount()
        self._opening = threading.Lock()
        self._once = RateLimitedLog(logger, every_s=float("inf"))

    def open(self) -> None:
        """Make or find the namespace, and probe its mount. Requires: called first. Raises: Unusable."""
        with self._opening:
            try:
                folder, writable = open_namespace(self._root, self._facts, self._model)
                # What was found once stays: blocks of one engine are published in one way.
                strategy = self.publish_strategy or self._strategy
                mount = probe_mount(folder, self.spec, strategy=strategy, direct_io=self._direct_io, writable=writable)
            except OSError as error:
                raise unusable(self._root, error) from error
            try:
                folders = _open_folders(folder)
            except OSError as error:
                text = f"{folder} cannot be read: {error.strerror} at {error.filename}"
                raise Unusable(text, transient=True) from error
            self.mount, self._folders = mount, folders

    @property
    def publish_strategy(self) -> str:
        """How blocks get their names on this mount; "" before it is open."""
        return self.mount.publish_strategy

    @property
    def folder(self) -> str:
        """The namespace's; "" before it is open."""
        return self._folders.root

    def path(self, key: bytes) -> str:
        """Where the block is, if it is there."""
        return f"{self.folder}/{layout.block_folder(key)}/{layout.block_name(key)}"

    def contains(self, key: bytes) -> BlockResult:
        """Whether a file of the right kind, owner and length has the block's name: one stat."""
        name = layout.block_name(key)
        try:
            found = self._folders.use(
                layout.block_folder(key), lambda fd: os.stat(name, dir_fd=fd, follow_symlinks=False)
            )
        except OSError as error:
            return BlockResult(False, reason_of(error))
        return self._check(found)

    def load(self, key: bytes, buffer: BlockBuffer, row: Row) -> BlockResult:
        """Read the whole block into the row.

        Ensures: on ok, the row has what was stored under this key by an engine of this identity. Else it may have
        anything. Raises: Cancelled when the row's gate is closed.
        """
        name, move = layout.block_name(key), Move(self.spec, key, buffer, row)
        try:
            read = self._folders.use(
                layout.block_folder(key), lambda folder: self.data_path.read(move, folder, name, self.mount)
            )
        except OSError as error:
            return self._not_opened(key, error)
        checked = self._check(read.found)
        return result_of(read.failure) if checked.ok and read.failure is not None else checked

    def run(self, blocks: Sequence[tuple[bytes, int]], gate: Gate) -> Run | None:
        """These blocks, (key, address of the row), for a crew; None where a folder is not open.

        Requires: as many bytes in each key. Never waits for storage. What a crew cannot move, load() and put() can, or
        they say why not.
        """
        found = [self._folders.opened(layout.block_folder(key)) for key, _ in blocks]
        folders = [folder for folder in found if folder is not None]
        if len(folders) < len(blocks):
            return None
        return Run(self.spec, self.mount, blocks, folders, gate, (ctypes.c_int64 * len(blocks))())

    def loaded(self, time: int) -> BlockResult:
        """What became of a block of a run that was read: its time in the run."""
        return LOADED_OLD if time < self._now() - self.refresh_after_s else LOADED

    def reread(self, key: bytes, buffer: BlockBuffer, row: Row) -> BlockResult:
        """Read a corrupt block once more: another node may have been writing it. Still so: into quarantine.

        One that is whole, and only of another shape than this engine's blocks, is somebody's: it stays.
        """
        result = self.load(key, buffer, row)
        if result.corrupt and is_of_another_shape(self.spec, key, self.path(key)):
            return BlockResult(False, Rule.SHAPE.value)
        if result.corrupt:
            logger.warning("block file %s is corrupt (%s): not used", self.path(key), result.reason)
            self._quarantine(key)
        return result

    def put(self, key: bytes, buffer: BlockBuffer, row: Row) -> BlockResult:
        """Publish the row as the block; a block that is there is refreshed instead.

        Raises: Cancelled when the row's gate is closed, also when that happened while a write hung; nothing is
        published then.
        """
        move = Move(self.spec, key, buffer, row)
        # Creating under the final name finds out by itself; the other ways would replace a block that is there.
        present = BlockResult(False) if self.publish_strategy == "exclusive" else self.contains(key)
        for _ in range(2):
            if present.ok:
                if present.refresh:
                    self.refresh_mtime(key)
                return BlockResult(True, already_stored=True)
            if present.corrupt and is_of_another_shape(self.spec, key, self.path(key)):
                return BlockResult(False, Rule.SHAPE.value)
            if present.corrupt:
                self._quarantine(key)
            try:
                if self._publish(key, lambda fd: self._write(fd, move)):
                    return BlockResult(True)
            except OSError as error:
                if error.errno not in REFUSES_DIRECT_IO or not self.mount.is_written_past_cache:
                    return BlockResult(False, reason_of(error))
                self.mount = _written_through_cache(self.mount, self.folder, error)
            present = self.contains(key)
        return BlockResult(True, already_stored=True) if present.ok else BlockResult(False, UNFINISHED)

    def is_healthy(self) -> bool:
        """Whether storage answers (mount_probe.is_healthy); never before it is open. May hang."""
        if not self.folder:
            return False
        self._folders.forget()  # they may be tied to a mount that is gone
        return is_healthy(self.folder, self.mount.read_flags)

    def try_writing(self) -> BlockResult:
        """Whether a block could be written now. May hang."""
        return try_writing(self.folder, self.spec.file_bytes)

    def refresh_mtime(self, key: bytes) -> None:
        """Mark the block as used now, if that is permitted."""
        refresh_mtime(self.path(key), self._once)

    def _publish(self, key: bytes, write: publish.Write) -> bool:
        try:
            return self._publish_in(layout.block_folder(key), key, write)
        except FileNotFoundError:
            # Someone removed the folder (an abandoned namespace was swept while this engine lived).
            self.open()
            return self._publish_in(layout.block_folder(key), key, write)

    def _publish_in(self, folder: str, key: bytes, write: publish.Write) -> bool:
        name = layout.block_name(key)
        synced = forget_pages if self.mount.is_read_past_cache else publish.ignore
        return self._folders.use(folder, lambda fd: publish.publish(self.publish_strategy, fd, name, write, synced))

    def _not_opened(self, key: bytes, error: OSError) -> BlockResult:
        if error.errno == errno.ELOOP:
            return BlockResult(False, Rule.NOT_REGULAR.value)
        # Past the page cache only files can be opened: look what this is.
        checked = self.contains(key) if error.errno == errno.EINVAL else BlockResult(False)
        return checked if checked.reason else BlockResult(False, reason_of(error))

    def _write(self, fd: int, move: Move) -> None:
        self.data_path.write(move, fd, past_cache=self.mount.is_written_past_cache)
        # All is written, perhaps late: it gets its name only when somebody waits for it still.
        if not move.row.gate.enter():
            raise Cancelled
        move.row.gate.leave()

    def _check(self, found: FileStat) -> BlockResult:
        age_s = self._now() - found.st_mtime
        return check_file(found, self.spec, self.mount, age_s, refresh_after_s=self.refresh_after_s)

    def _quarantine(self, key: bytes) -> None:
        is_made_in_place = self.publish_strategy == "exclusive"
        quarantine(self.folder, key, self.path(key), self._now(), is_made_in_place=is_made_in_place)


def _written_through_cache(mount: Mount, folder: str, error: OSError) -> Mount:
    """The mount took a page past its cache when it was tried, and no block now."""
    logger.warning("blocks on %s cannot be written past the page cache (%s): they go through it", folder, error)
    return replace(mount, is_written_past_cache=False)


def _open_folders(namespace: Path) -> Folders:
    folders = Folders(str(namespace))
    try:
        folders.open_all(layout.fanout_names(), _OPEN_THREADS)
    except FileNotFoundError:
        complete(namespace)
        folders.open_all(layout.fanout_names(), _OPEN_THREADS)
    return folders

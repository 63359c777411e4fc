# SPDX-License-Identifier: Apache-2.0
"""Digests of files by all their bytes: read in parts, by several threads, and only once where that can be remembered.

A file's digest is XXH3-128 over the XXH3-128 digests of its parts of PART_BYTES each.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

import xxhash

from llmd_storage_connector.errors import Unusable
from llmd_storage_connector.identity.digest_cache import DigestCache, Stamp

logger = logging.getLogger("vllm.llmd_storage_connector.identity.content")

PART_BYTES = 256 << 20
# Smaller files are read each time.
REMEMBERED_BYTES = 1 << 20
_CHUNK_BYTES = 4 << 20
# Enough for a network filesystem; the engine has just read the files, so most come from the page cache.
_THREADS = 4
_LOG_EVERY_S = 10.0
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class ContentReader:
    """Reads files. Its threads are daemons: one that hangs in a system call keeps no process from ending.

    Thread: one at a time calls read(); any reads the counters.
    """

    def __init__(self, cache: DigestCache, wall_clock: Callable[[], float] = time.time) -> None:
        self._cache = cache
        self._now = wall_clock
        self._lock = threading.Lock()
        self.total_bytes = 0  # to be read
        self.read_bytes = 0

    def read(self, files: Mapping[str, Path], unchanged_since_s: float | None = None) -> dict[str, tuple[int, str]]:
        """{name: (bytes, digest)}. Raises: OSError; Unusable when a file was changed after that time, or meanwhile."""
        began_s = self._now()
        stamps = {name: _stamp(path) for name, path in files.items()}
        for name, stamp in stamps.items():
            if unchanged_since_s is not None and stamp.ctime_ns > unchanged_since_s * 1e9:
                raise Unusable(
                    f"{files[name]} was changed after this engine's start, so nothing says whether the old bytes or "
                    "the new ones were loaded: start the engine again"
                )
        digests = {name: self._cache.get(stamp) for name, stamp in stamps.items() if stamp.size >= REMEMBERED_BYTES}
        unread = {name: stamp for name, stamp in stamps.items() if not digests.get(name)}
        self.total_bytes += (to_read := sum(stamp.size for stamp in unread.values()))
        text = "%d files say what the weights are: %.1f GiB to be read, the rest is known from before"
        logger.info(text, len(files), to_read / 2**30)
        parts = _Parts({name: (files[name], stamp) for name, stamp in unread.items()}, self._count)
        read = parts.read(self._log)
        for name, digest in read.items():
            if stamps[name].size >= REMEMBERED_BYTES and stamps[name].is_telling(began_s):
                self._cache.put(stamps[name], digest)
        return {name: (stamp.size, read.get(name) or str(digests[name])) for name, stamp in stamps.items()}

    def _count(self, read_bytes: int) -> None:
        with self._lock:
            self.read_bytes += read_bytes

    def _log(self) -> None:
        logger.info("reading the weights: %.1f of %.1f GiB", self.read_bytes / 2**30, self.total_bytes / 2**30)


class _Parts:
    """Files that are being read. Thread: one calls read(); _work is its threads'."""

    def __init__(self, files: Mapping[str, tuple[Path, Stamp]], count: Callable[[int], None]) -> None:
        self._files = files
        self._count = count
        self._digests = {name: [b""] * max(1, -(-stamp.size // PART_BYTES)) for name, (_, stamp) in files.items()}
        self._waiting = deque((name, part) for name, parts in self._digests.items() for part in range(len(parts)))
        self._errors: list[Exception] = []

    def read(self, log: Callable[[], None]) -> dict[str, str]:
        """{name: digest}. Raises: OSError, Unusable."""
        count = min(_THREADS, len(self._waiting))
        threads = [threading.Thread(target=self._work, name=f"llmd-weights-{i}", daemon=True) for i in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(_LOG_EVERY_S)
            while thread.is_alive():
                log()
                thread.join(_LOG_EVERY_S)
        if self._errors:
            raise self._errors[0]
        return {name: xxhash.xxh3_128_hexdigest(b"".join(parts)) for name, parts in self._digests.items()}

    def _work(self) -> None:
        buffer = memoryview(bytearray(_CHUNK_BYTES))
        while not self._errors:
            try:
                name, part = self._waiting.popleft()
            except IndexError:
                return
            try:
                self._digests[name][part] = self._digest(*self._files[name], part * PART_BYTES, buffer)
            except Exception as error:
                self._errors.append(error)

    def _digest(self, path: Path, stamp: Stamp, start: int, buffer: memoryview) -> bytes:
        digest, at, end = xxhash.xxh3_128(), start, min(start + PART_BYTES, stamp.size)
        fd = os.open(path, _READ)
        try:
            while at < end:
                got = os.preadv(fd, [buffer[: end - at]], at)
                if not got:
                    break
                digest.update(buffer[:got])
                at += got
                self._count(got)
            if at < end or Stamp.of(os.fstat(fd)) != stamp:
                raise Unusable(f"{path} was changed while it was read: it is read again", transient=True)
        finally:
            os.close(fd)
        return digest.digest()


def _stamp(path: Path) -> Stamp:
    """Of the file, opened so that a network filesystem asks its server. Raises: OSError."""
    fd = os.open(path, _READ)
    try:
        found = os.fstat(fd)
    finally:
        os.close(fd)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return Stamp.of(found)

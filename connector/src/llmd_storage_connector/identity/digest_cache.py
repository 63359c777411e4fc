# SPDX-License-Identifier: Apache-2.0
"""Digests of large files that were read before, in a folder on the claim: a small file for each.

A file is known by what every change of it changes, as git's index knows one: inode, size, and both times in
nanoseconds. Who can write there could name another digest, as he could write other blocks (docs/security.md).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import xxhash

from llmd_storage_connector.identity.facts import canonical_json
from llmd_storage_core import publish, strategies
from llmd_storage_core.folders import make_folder

logger = logging.getLogger("vllm.llmd_storage_connector.identity.digest_cache")

# A file that changed so short before it was read could change again with the same time on it; clocks differ.
RACY_S = 60.0
_VERSION = 1
_MAX_ENTRY_BYTES = 4096
MAX_ENTRIES = 4096
_USED_AFTER_S = 86400.0


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells a file from all others and from what it was before a change."""

    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> Stamp:
        """A file's, as it is now."""
        return cls(found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)

    def is_telling(self, read_at_s: float) -> bool:
        """Whether no other content could ever carry it. read_at_s: Unix time before the first byte was read.

        A time of change in whole seconds is an image's that was built to be reproducible, equal in the next one, or of
        a filesystem that would not tell two changes in one second apart.
        """
        age_s = read_at_s - max(self.mtime_ns, self.ctime_ns) / 1e9
        return age_s >= RACY_S and self.ctime_ns % 1_000_000_000 != 0


class DigestCache:
    """See the module's head. Nothing here raises: what cannot be read or kept costs time. Blocks as storage does."""

    def __init__(self, folder: Path, wall_clock: Callable[[], float] = time.time) -> None:
        """folder: made at need, and the one that it is in; no further one."""
        self._folder = folder
        self._now = wall_clock

    def get(self, stamp: Stamp) -> str | None:
        """The digest that was kept for it."""
        path = self._folder / _name(stamp)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(fd, "rb") as file:
                entry = json.loads(file.read(_MAX_ENTRY_BYTES))
                age_s = self._now() - os.fstat(fd).st_mtime
            digest = str(entry["xxh3"])
            is_whole = entry == _entry(stamp, digest)
        except (OSError, ValueError, KeyError, TypeError):
            return None  # not there, or damaged: read anew
        if is_whole and age_s > _USED_AFTER_S:
            with contextlib.suppress(OSError):
                os.utime(path)
        return digest if is_whole else None

    def put(self, stamp: Stamp, digest: str) -> None:
        """Keep it. Of two pods that do so at once one's file stays: they say the same."""
        try:
            for folder in (self._folder.parent, self._folder):
                make_folder(folder)
            content = canonical_json(_entry(stamp, digest)).encode() + b"\n"
            publish.publish(strategies.DEFAULT, str(self._folder), _name(stamp), publish.whole([content]))
            self._forget_old()
        except OSError as error:
            logger.debug("a digest of the weights cannot be kept: %s", error)

    def _forget_old(self) -> None:
        """Files that are gone leave their entries behind. Half of them go when they are many, the oldest first."""
        with os.scandir(self._folder) as entries:
            if len(found := list(entries)) <= MAX_ENTRIES:
                return
        found.sort(key=lambda entry: entry.stat(follow_symlinks=False).st_mtime)
        for entry in found[: len(found) // 2]:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(entry.path)


def _entry(stamp: Stamp, digest: str) -> dict[str, Any]:
    said: dict[str, Any] = {"version": _VERSION, "file": asdict(stamp), "xxh3": digest}
    return said | {"check": xxhash.xxh3_64_hexdigest(canonical_json(said).encode())}


def _name(stamp: Stamp) -> str:
    return xxhash.xxh3_128_hexdigest(canonical_json(asdict(stamp)).encode()) + ".json"

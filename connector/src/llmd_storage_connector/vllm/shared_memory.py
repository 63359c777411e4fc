# SPDX-License-Identifier: Apache-2.0
"""vLLM's CPU tier of an engine that was killed while it started: its memory is given back at the next start.

The region is a file in /dev/shm. Once the engine has started its name is gone and the kernel frees the memory; a
kill before that leaves gigabytes that nobody uses and that the restarted engine needs. A pod's /dev/shm outlives
its containers, so a restart alone does not help.

Who uses a region is read from /proc. Processes of other containers are not seen there: an engine of another
container that shares this /dev/shm keeps the memory it has mapped, but must not be starting at that moment.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import stat
import time
from collections.abc import Iterator

logger = logging.getLogger("vllm.llmd_storage_connector.vllm.shared_memory")

SHARED_MEMORY = "/dev/shm"  # noqa: S108  where vLLM puts it
# A region is mapped by its creator as soon as it exists; this is room for what is not seen in that moment.
MIN_AGE_S = 60.0
_REGION = re.compile(r"vllm_offload_.+\.mmap")
_BLOCK_BYTES = 512  # unit of st_blocks


def remove_stale_regions(
    own_path: str, directory: str = SHARED_MEMORY, proc: str = "/proc", min_age_s: float = MIN_AGE_S
) -> int:
    """Remove regions of this user that no live process maps or holds open. own_path is never touched.

    Returns: bytes of memory freed. Never raises. Thread: any, before the engine makes its own region.
    """
    try:
        candidates = _old_regions(directory, own_path, time.time() - min_age_s)
        used = _regions_in_use(proc) if candidates else set()
        freed = [size for name, size in candidates.items() if name not in used and _unlink(directory, name)]
    except Exception:
        logger.exception("looking for memory of dead engines in %s failed", directory)
        return 0
    if freed:
        logger.warning("freed %d bytes in %s that %d killed engines left", sum(freed), directory, len(freed))
    return sum(freed)


def _old_regions(directory: str, own_path: str, before: float) -> dict[str, int]:
    """{name: bytes it holds} of this user's regions that nobody touched since `before` (wall clock)."""
    regions = {}
    for name in os.listdir(directory):
        if not _REGION.fullmatch(name) or name == os.path.basename(own_path):
            continue
        with contextlib.suppress(FileNotFoundError):
            found = os.lstat(os.path.join(directory, name))
            mine = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
            if mine and max(found.st_mtime, found.st_ctime) < before:
                regions[name] = found.st_blocks * _BLOCK_BYTES
    return regions


def _regions_in_use(proc: str) -> set[str]:
    """Names of regions that live processes map or hold open."""
    used: set[str] = set()
    for pid in filter(str.isdigit, os.listdir(proc)):
        # It ended meanwhile, or belongs to another user or has more rights than this process: then it is no engine
        # that could hold a region of this user, which only this user may open.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            used.update(_names_in(os.path.join(proc, pid)))
    return used


def _names_in(folder: str) -> Iterator[str]:
    with open(os.path.join(folder, "maps"), encoding="utf-8", errors="replace") as maps:
        for line in maps:
            yield from _region_of(line.rstrip("\n"))
    files = os.path.join(folder, "fd")
    for descriptor in os.listdir(files):
        with contextlib.suppress(FileNotFoundError):
            # Only the link is read: looking at what it names could hang on an unhealthy filesystem.
            yield from _region_of(os.readlink(os.path.join(files, descriptor)))


def _region_of(path: str) -> Iterator[str]:
    """By name, not by path: the process may see /dev/shm elsewhere. Names carry the engine's unique id."""
    name = path.removesuffix(" (deleted)").rpartition("/")[2]
    if _REGION.fullmatch(name):
        yield name


def _unlink(directory: str, name: str) -> bool:
    try:
        os.unlink(os.path.join(directory, name))
    except FileNotFoundError:
        return False  # another process that starts now was faster
    return True

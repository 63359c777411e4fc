# SPDX-License-Identifier: Apache-2.0
"""What an engine keeps in /dev/shm, and what is left there of one that was killed.

vLLM's CPU tier is a file there. Once the engine has started its name is gone and the kernel frees the memory; a kill
before that leaves gigabytes that nobody uses and that the restarted engine needs. A pod's /dev/shm outlives its
containers, so a restart alone does not help.

Every process of an engine holds a lock on a small file of the engine beside that, from before the region is made until
it ends, however it ends. So whoever can have such a file for himself knows that its engine is gone, also one of another
container, whose processes he cannot see, and one that takes an hour to start.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re

logger = logging.getLogger("vllm.llmd_storage_connector.vllm.shared_memory")

SHARED_MEMORY = "/dev/shm"  # noqa: S108  where vLLM puts it
_ENGINE_FILE = re.compile(r"llmd_storage_(.+)\.engine")
_OPEN = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_BLOCK_BYTES = 512  # unit of st_blocks


def region_path(engine_id: str, directory: str = SHARED_MEMORY) -> str:
    """The file that is the engine's CPU tier, as vLLM names it (SharedOffloadRegion)."""
    return os.path.join(directory, f"vllm_offload_{engine_id}.mmap")


def _engine_file_path(engine_id: str, directory: str) -> str:
    return os.path.join(directory, f"llmd_storage_{engine_id}.engine")


class EngineFile:
    """This process's hold on its engine's file. It ends with release(), the object, or the process.

    Thread: any.
    """

    def __init__(self, engine_id: str, directory: str = SHARED_MEMORY) -> None:
        """Requires: the engine's region is not made yet, or by a process that holds the file. Raises: OSError.

        Ensures: what a killed engine of the same id has left is gone.
        """
        path = _engine_file_path(engine_id, directory)
        while True:
            self._file = os.fdopen(os.open(path, _OPEN | os.O_CREAT, 0o600), "r+b", buffering=0)
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove_region(region_path(engine_id, directory))
                self._file.truncate(0)
            fcntl.flock(self._file, fcntl.LOCK_SH)
            if _is_at(self._file.fileno(), path):
                self._path = path
                return
            self._file.close()  # whoever collects such files was faster

    def mark(self) -> None:
        """Tell every process of the engine that its weights change."""
        self._file.truncate(1)

    @property
    def is_marked(self) -> bool:
        """Whether mark() was called in any process of the engine. One look into memory: a microsecond."""
        return not self._file.closed and os.fstat(self._file.fileno()).st_size > 0

    def release(self, *, remove: bool) -> None:
        """Let go of it. remove: the engine ends."""
        if remove and not self._file.closed:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)
        self._file.close()


def remove_orphans(directory: str = SHARED_MEMORY) -> int:
    """Remove what engines that are gone have left. Returns: bytes of memory freed. Never raises. Thread: any."""
    try:
        engines = [found[1] for name in os.listdir(directory) if (found := _ENGINE_FILE.fullmatch(name))]
        freed = [size for engine_id in engines if (size := _remove_if_orphan(directory, engine_id))]
    except Exception:
        logger.exception("looking for memory of dead engines in %s failed", directory)
        return 0
    if freed:
        logger.warning("freed %d bytes in %s that %d killed engines left", sum(freed), directory, len(freed))
    return sum(freed)


def _remove_if_orphan(directory: str, engine_id: str) -> int:
    """Bytes freed: none of an engine that lives, that is another user's, or that was killed after its start."""
    path = _engine_file_path(engine_id, directory)
    with contextlib.suppress(OSError), os.fdopen(os.open(path, _OPEN), "r+b", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_at(file.fileno(), path):
            freed = _remove_region(region_path(engine_id, directory))
            os.unlink(path)
            return freed
    return 0


def _remove_region(path: str) -> int:
    """Bytes it held, 0 where there is none. Raises: OSError."""
    try:
        held = os.lstat(path).st_blocks * _BLOCK_BYTES
        os.unlink(path)
    except FileNotFoundError:
        return 0
    return held


def _is_at(fd: int, path: str) -> bool:
    """Whether the path names the open file, not another that was made since."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return False
    return os.path.samestat(found, os.fstat(fd))

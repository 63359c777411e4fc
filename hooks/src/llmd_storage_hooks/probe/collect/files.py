# SPDX-License-Identifier: Apache-2.0
"""System calls on the mounted directory, and the strategies to publish a file there.

`doing` names the call under way: when the filesystem hangs, the report can say in which call.
"""

from __future__ import annotations

import errno
import mmap
import os
import shutil
import stat
import time
from pathlib import Path
from typing import BinaryIO, cast

from llmd_storage_core.room import counted_files
from llmd_storage_core.strategies import EXCLUSIVE, LINK, RENAME, RENAME_FSYNC
from llmd_storage_hooks.probe.collect import selinux

REFUSED = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
ALIGNMENT = 4096  # of a buffer and of an offset, for reads past the page cache
FILE_MODE = 0o660  # as the connector's blocks
REMOVE_S = 5.0  # how long to retry while another pod still writes or removes there


class Files:
    """Plain file operations below one directory. Thread: any; `doing` is only read for messages."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.doing = ""
        self._over = False

    def path(self, name: str) -> Path:
        """Where `name` is. Raises: OSError ECANCELED once `end` was called."""
        if self._over:
            raise OSError(errno.ECANCELED, os.strerror(errno.ECANCELED), name)
        return self.root / name

    def end(self) -> None:
        """From now on files can only be removed: an abandoned step must not create again what is being removed."""
        self._over = True

    def mkdir(self, name: str) -> None:
        self.doing = f"mkdir {name}"
        for _ in range(5):  # another pod may remove the (empty) parent in between
            try:
                self.path(name).mkdir(parents=True, exist_ok=True)
                return
            except FileNotFoundError:
                time.sleep(0.05)
        self.path(name).mkdir(parents=True, exist_ok=True)

    def names(self, name: str) -> list[str]:
        self.doing = f"list {name}"
        return os.listdir(self.path(name))

    def read(self, name: str) -> bytes:
        """Open and read to the end: close-to-open filesystems promise current content only on open."""
        self.doing = f"open and read {name}"
        with open(self.path(name), "rb", buffering=0) as file:
            return file.readall()

    def owner(self, name: str) -> tuple[int, int]:
        self.doing = f"stat {name}"
        info = os.stat(self.path(name))
        return info.st_uid, info.st_gid

    def mtime(self, name: str) -> float:
        self.doing = f"stat {name}"
        return os.stat(self.path(name)).st_mtime

    def set_mtime(self, name: str, seconds: float) -> None:
        self.doing = f"utime {name}"
        os.utime(self.path(name), (seconds, seconds))

    def opened(self, name: str) -> BinaryIO:
        """For reading, unbuffered."""
        self.doing = f"open {name}"
        return cast(BinaryIO, open(self.path(name), "rb", buffering=0))

    def overwrite(self, name: str, data: bytes) -> None:
        """Truncate or create the file, write `data`, and close it."""
        self.doing = f"overwrite {name}"
        descriptor = os.open(self.path(name), os.O_CREAT | os.O_TRUNC | os.O_WRONLY, FILE_MODE)
        try:
            os.write(descriptor, data)
        finally:
            os.close(descriptor)

    def create_and_sync(self, name: str) -> tuple[float, float]:
        """Make a file of one page. Returns: the seconds that creating and that writing with fsync took."""
        self.doing = f"create and fsync {name}"
        began = time.monotonic()
        descriptor = os.open(self.path(name), os.O_CREAT | os.O_EXCL | os.O_WRONLY, FILE_MODE)
        try:
            created = time.monotonic()
            os.write(descriptor, bytes(ALIGNMENT))
            os.fsync(descriptor)
            return created - began, time.monotonic() - created
        finally:
            os.close(descriptor)

    def unlink(self, name: str) -> None:
        self.doing = f"unlink {name}"
        self.path(name).unlink()

    def create_exclusive(self, name: str) -> bool:
        """True when this call created the file, False when it existed."""
        self.doing = f"create {name}"
        try:
            os.close(os.open(self.path(name), os.O_CREAT | os.O_EXCL | os.O_WRONLY, FILE_MODE))
        except FileExistsError:
            return False
        return True

    def space(self) -> tuple[int, int]:
        """Bytes that this user may still write, and bytes in all."""
        self.doing = "statvfs"
        info = os.statvfs(self.root)
        return info.f_bavail * info.f_frsize, info.f_blocks * info.f_frsize

    def inodes(self) -> tuple[int, int] | None:
        """Files that this user may still make, and files in all; None where there is no such limit."""
        self.doing = "statvfs"
        return counted_files(os.statvfs(self.root))

    def describe(self, refused: str = "") -> str:
        """Owner and mode of the path that was refused (or of its folder, or the root), and this pod's ids."""
        asked = self.root / self.doing.rpartition(" ")[2]
        refusing = (Path(refused), asked, asked.parent, self.root) if refused else (self.root,)
        path = next(one for one in refusing if one != Path() and os.path.exists(one))
        info = os.stat(path)
        groups = ",".join(str(one) for one in sorted({os.getegid(), *os.getgroups()}))
        label = selinux.denial(path, info)
        return (
            f"{path} belongs to {info.st_uid}:{info.st_gid}, mode {stat.S_IMODE(info.st_mode):04o}; this pod is "
            f"uid {os.geteuid()}, groups {groups}{f'; {label}' if label else ''}"
        )

    def read_direct(self, name: str) -> bytes:
        """Read past the page cache. Raises: OSError EINVAL and the like where the filesystem has no such thing."""
        self.doing = f"open with O_DIRECT and read {name}"
        descriptor = os.open(self.path(name), os.O_RDONLY | os.O_DIRECT)
        try:
            size = os.fstat(descriptor).st_size
            with mmap.mmap(-1, -(-size // ALIGNMENT) * ALIGNMENT) as buffer, memoryview(buffer) as view:
                done = 0
                while done < size:
                    part = os.preadv(descriptor, [view[done:]], done)
                    if part == 0:
                        break
                    done += part
                return bytes(view[:done])
        finally:
            os.close(descriptor)

    def publish(self, name: str, data: bytes, strategy: str) -> float:
        """Write `data` and give it `name` by `strategy`. Returns the seconds it took."""
        began = time.monotonic()
        final = self.path(name)
        temporary = final.with_name(f".{final.name}.tmp")
        target = final if strategy == EXCLUSIVE else temporary
        self.doing = f"write {name}"
        descriptor = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, FILE_MODE)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            if strategy == RENAME_FSYNC:
                self.doing = f"rename and fsync {name}"
                os.rename(temporary, final)
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if strategy == RENAME:
            self.doing = f"rename {name}"
            os.rename(temporary, final)
        if strategy == LINK:
            self.doing = f"link {name}"
            try:
                os.link(temporary, final)
            finally:
                os.unlink(temporary)
        return time.monotonic() - began

    def supports(self, name: str, strategy: str) -> bool:
        """Whether this filesystem has what `strategy` needs (hard links are not everywhere); tried on `name`."""
        try:
            self.publish(name, b"x", strategy)
        except OSError as error:
            if error.errno not in REFUSED:
                raise
            return False
        return True

    def remove_tree(self, name: str) -> None:
        """Remove `name` and all below it, also while another pod writes its last files there or removes it too."""
        self.doing = f"remove {name}"
        path, limit = self.root / name, time.monotonic() + REMOVE_S
        while True:
            try:
                os.lstat(path)  # os.path.lexists would take an I/O error for absence
            except FileNotFoundError:
                return
            try:
                shutil.rmtree(path)
            except OSError:  # not empty, or a file is gone already: another pod is at it
                if time.monotonic() > limit:
                    raise
                time.sleep(0.05)

    def remove_empty(self, name: str) -> None:
        """Remove a directory if nothing is in it; others may still use it."""
        self.doing = f"rmdir {name}"
        try:
            (self.root / name).rmdir()
        except OSError:
            return

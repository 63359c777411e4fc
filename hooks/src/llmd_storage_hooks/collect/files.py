# SPDX-License-Identifier: Apache-2.0
"""System calls on the mounted directory, and the ways to publish a file there.

`doing` always names the call under way: when a filesystem hangs, that is what the report can say.
"""

from __future__ import annotations

import errno
import mmap
import os
import shutil
import stat
import time
from pathlib import Path

from llmd_storage_hooks.strategies import EXCLUSIVE, LINK, RENAME, RENAME_FSYNC

REFUSED = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
ALIGNMENT = 4096  # of a buffer and of an offset, for reads past the page cache
FILE_MODE = 0o660  # as the connector's blocks


class Files:
    """Plain file operations below one directory. Thread: any; `doing` is only read for messages."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.doing = ""

    def path(self, name: str) -> Path:
        return self.root / name

    def mkdir(self, name: str) -> None:
        self.doing = f"mkdir {name}"
        for _ in range(5):  # a neighbour may remove the (empty) parent in between
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
        """Open anew and read to the end: close-to-open filesystems promise freshness only on open."""
        self.doing = f"open and read {name}"
        with open(self.path(name), "rb", buffering=0) as file:
            return file.readall()

    def owner(self, name: str) -> tuple[int, int]:
        self.doing = f"stat {name}"
        info = os.stat(self.path(name))
        return info.st_uid, info.st_gid

    def unlink(self, name: str) -> None:
        self.doing = f"unlink {name}"
        self.path(name).unlink()

    def create_exclusive(self, name: str) -> bool:
        """True when this caller made the file, False when it was there already."""
        self.doing = f"create {name}"
        try:
            os.close(os.open(self.path(name), os.O_CREAT | os.O_EXCL | os.O_WRONLY, FILE_MODE))
        except FileExistsError:
            return False
        return True

    def space(self) -> tuple[int, int]:
        """Bytes free for us, and in all."""
        self.doing = "statvfs"
        info = os.statvfs(self.root)
        return info.f_bavail * info.f_frsize, info.f_blocks * info.f_frsize

    def describe_root(self) -> str:
        """Whose the directory is and who asks: what a refusal is about."""
        info = os.stat(self.root)
        groups = ",".join(str(one) for one in sorted({os.getegid(), *os.getgroups()}))
        return (
            f"{self.root} belongs to {info.st_uid}:{info.st_gid}, mode {stat.S_IMODE(info.st_mode):04o}; this pod is "
            f"uid {os.geteuid()}, groups {groups}"
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
        """Whether this filesystem can publish in that way (hard links are not everywhere); tried on `name`."""
        try:
            self.publish(name, b"x", strategy)
        except OSError as error:
            if error.errno not in REFUSED:
                raise
            return False
        return True

    def remove_tree(self, name: str) -> None:
        """Remove `name` and all below it. A neighbour may still be writing its last file: try again."""
        self.doing = f"remove {name}"
        for _ in range(10):
            try:
                shutil.rmtree(self.path(name))
                return
            except FileNotFoundError:
                return
            except OSError:
                time.sleep(0.1)
        shutil.rmtree(self.path(name))

    def remove_empty(self, name: str) -> None:
        """Remove a directory if nothing is in it; others may still use it."""
        self.doing = f"rmdir {name}"
        try:
            self.path(name).rmdir()
        except OSError:
            return

# SPDX-License-Identifier: Apache-2.0
"""Storage that is slow, full, sick, hung or gone, on demand: a FUSE filesystem over any directory.

    with mounted(source, at, delay_us=2000) as fs:
        fs.set(errno="ENOSPC", on=("write",))   # holds from the next operation on
        fs.set()                                # well again, and fast
        fs.stop(); fs.cont()                    # hangs; goes on
        fs.kill(); fs.remount()                 # ENOTCONN; a fresh mount at the same place

Needs Linux, root (or the right to mount), a C compiler and libfuse 3 with its headers.
"""

from __future__ import annotations

import contextlib
import errno as errnos
import mmap
import os
import signal
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.faultfs.build import program
from tests.faultfs.mounts import leftovers, mount_points, unmount
from tests.patience import CEILING_S

__all__ = ["CLASSES", "FaultFS", "leftovers", "mounted"]

# Bit positions of `on`, and order of `seen`, in faultfs.c.
CLASSES = ("read", "write", "meta")
_SETTINGS = struct.Struct("<iiiiII")
_SEEN = struct.Struct("<3Q")


class FaultFS:
    """One mount, seen from the process that made it. Made by mounted()."""

    def __init__(self, source: Path, at: Path, control: Path, max_threads: int) -> None:
        self.source = source
        self.at = at
        self._argv = [str(program()), "-f", str(control), str(source), str(at), f"--max-threads={max_threads}"]
        with control.open("w+b") as file:
            file.truncate(_SETTINGS.size + _SEEN.size)
            self._control = mmap.mmap(file.fileno(), 0)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def alive(self) -> bool:
        """Whether a process serves the mount; it may be stopped."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process that serves the mount. Requires: it was not killed."""
        assert self._process is not None, f"nothing serves {self.at}"
        return self._process.pid

    @property
    def seen(self) -> dict[str, int]:
        """Operations that arrived so far, by class."""
        return dict(zip(CLASSES, _SEEN.unpack_from(self._control, _SETTINGS.size), strict=True))

    def set(
        self,
        *,
        delay_us: int = 0,
        meta_us: int | None = None,
        bw_mib: int = 0,
        errno: str | None = None,
        on: Sequence[str] = CLASSES,
        hang: Sequence[str] = (),
    ) -> None:
        """All settings, from the next operation on; what is not named is off.

        delay_us: before each read, write and fsync; meta_us: before every other operation (None: the same);
        bw_mib: MiB/s of reads and writes together (0: no limit); errno: what operations of the classes `on`
        fail with; hang: classes whose operations wait until set() is called again. "write" is all that changes
        something, "meta" all that asks, opening for reading included.
        """
        number = getattr(errnos, errno) if errno else 0
        meta_us = delay_us if meta_us is None else meta_us
        _SETTINGS.pack_into(self._control, 0, delay_us, meta_us, bw_mib, number, _bits(on), _bits(hang))

    def stop(self) -> None:
        """Hang: no operation returns until cont() or kill()."""
        os.kill(self.pid, signal.SIGSTOP)

    def cont(self) -> None:
        """Go on after stop()."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """Be gone: every operation, those that wait included, ends with ENOTCONN until remount()."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def mount(self) -> None:
        """Serve the mount point. Raises: RuntimeError when that does not come about."""
        process = subprocess.Popen(self._argv, stdin=subprocess.DEVNULL, start_new_session=True)
        self._process = process
        limit = time.monotonic() + CEILING_S
        while mount_points().get(str(self.at)) != f"faultfs-{os.getpid()}-{process.pid}":
            if process.poll() is not None or time.monotonic() > limit:
                self.unmount()
                raise RuntimeError(f"faultfs could not be mounted at {self.at} (exit code {process.poll()})")
            time.sleep(0.01)

    def remount(self) -> None:
        """A fresh mount at the same place, with the same settings, as a kubelet or an operator makes one."""
        self.unmount()
        self.mount()

    def unmount(self) -> None:
        """Killed first: an unmount could wait for one that hangs."""
        self.kill()
        unmount(self.at)


def _bits(classes: Sequence[str]) -> int:
    return sum(1 << CLASSES.index(name) for name in set(classes))


@contextlib.contextmanager
def mounted(
    source: Path,
    at: Path,
    *,
    delay_us: int = 0,
    meta_us: int | None = None,
    bw_mib: int = 0,
    max_threads: int = 128,
) -> Iterator[FaultFS]:
    """`source`, seen through faultfs at `at` (made when it is not there); unmounted at the end, however it ends."""
    leftovers()
    at.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="faultfs-") as scratch:
        fs = FaultFS(source.resolve(), at.resolve(), Path(scratch) / "control", max_threads)
        fs.set(delay_us=delay_us, meta_us=meta_us, bw_mib=bw_mib)
        try:
            fs.mount()
            yield fs
        finally:
            fs.unmount()

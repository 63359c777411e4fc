# SPDX-License-Identifier: Apache-2.0
"""Descriptors of the folders that hold blocks, so that an operation on a block names one component, not a path.

On a filesystem whose client keeps no names, each component of a path is a round trip.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


_Result = TypeVar("_Result")


class Folder:
    """An open folder. It is closed when its last user lets go of it, never under another's hands.

    Closing a number that another thread is about to use could send that thread into some other folder.
    """

    __slots__ = ("fd",)

    def __init__(self, path: str) -> None:
        """Raises: OSError. Blocks: as long as storage does."""
        self.fd = -1
        self.fd = os.open(path, _FLAGS)

    def __del__(self) -> None:
        if self.fd >= 0:
            with contextlib.suppress(OSError):
                os.close(self.fd)


class Folders:
    """The folders of one namespace, opened at first use.

    Thread: any. Whoever uses a folder's descriptor keeps the Folder for as long.
    """

    def __init__(self, root: str = "") -> None:
        self.root = root
        self._open: dict[str, Folder] = {}

    def at(self, name: str) -> Folder:
        """The folder `name` below the root. Raises: OSError."""
        folder = self._open.get(name)
        if folder is None:
            # Of two threads that open one folder at the same time the first keeps it; setdefault is one step.
            folder = self._open.setdefault(name, Folder(f"{self.root}/{name}"))
        return folder

    def opened(self, name: str) -> Folder | None:
        """The folder `name` where it is open: storage is not asked."""
        return self._open.get(name)

    def open_all(self, names: Iterable[str], threads: int) -> None:
        """Open these at once, so that nobody who waits has to. Raises: OSError."""
        with ThreadPoolExecutor(max_workers=threads, thread_name_prefix="llmd-folders") as pool:
            list(pool.map(self.at, names))

    def use(self, name: str, call: Callable[[int], _Result]) -> _Result:
        """call(descriptor of the folder `name`); once more with the folder opened anew where that is stale.

        Raises: OSError.
        """
        folder = self.at(name)
        try:
            return call(folder.fd)
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
        if self._open.get(name) is folder:  # unless another thread has opened it anew
            self._open.pop(name, None)
        folder = self.at(name)
        return call(folder.fd)

    def forget(self) -> None:
        """Open everything anew: after a server or a mount went away, old descriptors stay dead."""
        self._open = {}

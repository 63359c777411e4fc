# SPDX-License-Identifier: Apache-2.0
"""Folders on the claim, as every pod that shares it needs them."""

from __future__ import annotations

import contextlib
from pathlib import Path

# Group-writable and set-gid: pods that share the claim through fsGroup can evict each other's blocks.
FOLDER_MODE = 0o2770


def make_folder(path: Path) -> None:
    """Make the folder, unless it is there; the one it is in has to be. Raises: OSError. Blocks: as storage does."""
    try:
        path.mkdir()
    except FileExistsError:
        return
    # mkdir's own mode is cut by the umask; where modes cannot be changed, the mount decides them.
    with contextlib.suppress(PermissionError):
        path.chmod(FOLDER_MODE)

# SPDX-License-Identifier: Apache-2.0
"""Whether a file may be a block, by what stat(2) says of it (rules F1, F9 and F10 of docs/FORMAT.md)."""

from __future__ import annotations

import stat
from typing import Protocol

from llmd_storage_connector.blocks.format import BlockSpec
from llmd_storage_connector.blocks.mount_probe import Mount
from llmd_storage_connector.blocks.result import BlockResult
from llmd_storage_connector.errors import Rule

# A file this young may still be being written by a node that creates under the final name.
UNFINISHED_GRACE_S = 60.0


class FileStat(Protocol):
    """What of os.stat_result is looked at."""

    @property
    def st_mode(self) -> int: ...
    @property
    def st_uid(self) -> int: ...
    @property
    def st_gid(self) -> int: ...
    @property
    def st_size(self) -> int: ...
    @property
    def st_mtime(self) -> float: ...


def may_be_read(found: FileStat, spec: BlockSpec, mount: Mount) -> bool:
    """Whether the file has the kind, owner and length of a block."""
    ours = found.st_uid in mount.owners or found.st_gid == mount.group
    return stat.S_ISREG(found.st_mode) and ours and found.st_size == spec.file_bytes


def check_file(found: FileStat, spec: BlockSpec, mount: Mount, age_s: float, *, refresh_after_s: float) -> BlockResult:
    """age_s: seconds since it was written or refreshed; refresh_after_s: the age from which it is to be refreshed."""
    if not stat.S_ISREG(found.st_mode):
        return BlockResult(False, Rule.NOT_REGULAR.value)
    if found.st_uid not in mount.owners and found.st_gid != mount.group:
        return BlockResult(False, Rule.OWNER.value)
    if found.st_size != spec.file_bytes:
        unfinished = found.st_size < spec.file_bytes and age_s < UNFINISHED_GRACE_S
        return BlockResult(False, Rule.LENGTH.value, corrupt=not unfinished)
    return BlockResult(True, refresh=age_s > refresh_after_s)

# SPDX-License-Identifier: Apache-2.0
"""What became of one operation on one block, and the words for why not: labels of metrics."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from llmd_storage_connector.errors import Corrupt

ABSENT = "absent"
# Storage had not answered by then.
DEADLINE = "deadline"
# Another node is writing the block under its final name, or died doing so less than a minute ago.
UNFINISHED = "unfinished"
# Perhaps not about one file: the server or the mount is gone, or this client was shut out (EACCES, by CephFS).
UNHEALTHY = frozenset(
    errno.errorcode[number].lower()
    for number in (
        errno.EIO,
        errno.ESTALE,
        errno.EACCES,
        errno.ENOTCONN,
        errno.ECONNABORTED,
        errno.ECONNRESET,
        errno.ESHUTDOWN,
        errno.ENODEV,
        errno.ENXIO,
        errno.ETIMEDOUT,
        errno.EHOSTDOWN,
        errno.EREMOTEIO,
    )
)


@dataclass(frozen=True, slots=True)
class BlockResult:
    """What became of one operation. reason: why not (a metrics label); refresh: its mtime is old."""

    ok: bool
    reason: str = ""
    already_stored: bool = False
    refresh: bool = False
    corrupt: bool = False


# Of nearly all blocks that are read.
LOADED = BlockResult(True)
LOADED_OLD = BlockResult(True, refresh=True)
# Of nearly all that are written.
STORED = BlockResult(True)


def result_of(error: OSError | Corrupt) -> BlockResult:
    """What an error makes of a block that was being read."""
    if isinstance(error, Corrupt):
        return BlockResult(False, error.rule.value, corrupt=True)
    return BlockResult(False, reason_of(error))


def reason_of(error: OSError) -> str:
    """A short label: 'absent', or the error's symbol in lower case."""
    if error.errno == errno.ENOENT:
        return ABSENT
    return errno.errorcode.get(error.errno or 0, "unknown").lower()

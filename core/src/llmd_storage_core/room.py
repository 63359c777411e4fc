# SPDX-License-Identifier: Apache-2.0
"""What a filesystem says of the files that it can hold. Pure."""

from __future__ import annotations

import os


def counted_files(found: os.statvfs_result) -> tuple[int, int] | None:
    """Files that this user may still make, and files in all.

    None where there is no such limit: btrfs says 0 in all, CephFS -1 or that more are free than there are.
    """
    counted = found.f_files > 0 and 0 <= found.f_favail <= found.f_files
    return (found.f_favail, found.f_files) if counted else None

# SPDX-License-Identifier: Apache-2.0
"""Files that are no blocks of ours: whose they may be, and out of the way with those that are nobody's."""

from __future__ import annotations

import logging
import os

from llmd_storage_connector.blocks import format as block_format
from llmd_storage_connector.blocks import layout
from llmd_storage_connector.blocks.file_check import UNFINISHED_GRACE_S
from llmd_storage_connector.blocks.files import READ
from llmd_storage_connector.blocks.format import BlockSpec

logger = logging.getLogger("vllm.llmd_storage_connector.blocks.quarantine")


def is_of_another_shape(spec: BlockSpec, key: bytes, path: str) -> bool:
    """Whether the block's file is whole, as another engine of this identity writes it. Blocks: as storage does."""
    try:
        with open(path, "rb", opener=lambda name, _: os.open(name, READ)) as file:
            size, header = os.fstat(file.fileno()).st_size, file.read(block_format.MAX_HEADER_BYTES)
    except OSError:
        return False
    return block_format.is_of_another_shape(spec, key, header, size)


def quarantine(namespace: str, key: bytes, path: str, now: float, *, is_made_in_place: bool) -> None:
    """Out of the way, so that the block can be stored again; kept, so that someone can look.

    namespace: its folder. is_made_in_place: files are created under their final name, so that a young one may be
    another node's unfinished work. Blocks: as storage does.
    """
    try:
        found = os.stat(path, follow_symlinks=False)
        if is_made_in_place and now - found.st_mtime < UNFINISHED_GRACE_S:
            return
        os.rename(path, f"{namespace}/{layout.DAMAGED}/{layout.block_name(key)}")
    except OSError:
        logger.debug("could not quarantine %s", path, exc_info=True)

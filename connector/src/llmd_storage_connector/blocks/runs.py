# SPDX-License-Identifier: Apache-2.0
"""Several blocks by one call. Anything but a block as it should be is left to store.py's ways with a single one, which
know what to do about it.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Sequence

from llmd_storage_connector.blocks import layout
from llmd_storage_connector.blocks.buffer import BlockBuffer
from llmd_storage_connector.blocks.data_path import DataPath, Run
from llmd_storage_connector.blocks.folders import Folders
from llmd_storage_connector.blocks.format import BlockSpec
from llmd_storage_connector.blocks.gate import Gate
from llmd_storage_connector.blocks.mount_probe import Mount
from llmd_storage_connector.blocks.result import LOADED, LOADED_OLD, STORED, BlockResult


def begin(
    folders: Folders, spec: BlockSpec, blocks: Sequence[tuple[bytes, int]], buffer: BlockBuffer, gate: Gate
) -> Run | None:
    """A run of these blocks, (key, address of the row); None where their folders cannot be opened.

    Requires: as many bytes in each key. Blocks: as long as storage does.
    """
    try:
        opened = [folders.at(layout.block_folder(key)) for key, _ in blocks]
    except OSError:
        return None
    return Run(spec, blocks, opened, buffer, gate, (ctypes.c_int64 * len(blocks))())


def load(run: Run, path: DataPath, mount: Mount, refresh_before: float) -> list[BlockResult]:
    """Read the run's blocks up to the first that is not had without doubt. Returns: of those before it.

    refresh_before: those that were changed earlier are to be refreshed. Raises nothing.
    """
    path.read_run(run, mount)
    return [LOADED_OLD if time < refresh_before else LOADED for time in itertools.takewhile(bool, run.times)]


def put(run: Run, path: DataPath, mount: Mount) -> list[BlockResult]:
    """Publish the run's rows as blocks, up to the first that is there already or cannot be written.

    Returns: of those before it. Raises nothing.
    """
    path.publish_run(run, mount.publish_strategy, forgets=mount.is_read_past_cache)
    return [STORED for _ in itertools.takewhile(bool, run.times)]

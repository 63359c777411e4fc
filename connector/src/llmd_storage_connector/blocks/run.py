# SPDX-License-Identifier: Apache-2.0
"""Many blocks of one job, as those have them who move them without Python."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import NamedTuple

from llmd_storage_connector.blocks.folders import Folder
from llmd_storage_connector.blocks.format import BlockSpec
from llmd_storage_connector.blocks.gate import Gate
from llmd_storage_connector.blocks.mount_probe import Mount


class Run(NamedTuple):
    """Blocks that a crew moves, and which of them it has.

    blocks: (key, address of its row); folders: of each, kept open by the run. times: of each block whose row has what
    was stored, when it was last changed, in whole seconds, and 1 of each that was published; 0 of the others.
    Thread: movers change `times`, any looks at it.
    """

    spec: BlockSpec
    mount: Mount
    blocks: Sequence[tuple[bytes, int]]
    folders: Sequence[Folder]
    gate: Gate
    times: ctypes.Array[ctypes.c_int64]

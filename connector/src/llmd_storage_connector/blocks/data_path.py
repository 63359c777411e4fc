# SPDX-License-Identifier: Apache-2.0
"""How the bytes of a block move between its file and its row: the contract, and one set of tests for who keeps it.

python_path.py is the reference, native.py does the same without the interpreter.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from llmd_storage_connector.blocks.buffer import BlockBuffer
from llmd_storage_connector.blocks.crew import Crew
from llmd_storage_connector.blocks.file_check import FileStat
from llmd_storage_connector.blocks.format import BlockSpec
from llmd_storage_connector.blocks.gate import Gate
from llmd_storage_connector.blocks.mount_probe import Mount
from llmd_storage_connector.errors import Corrupt


class Row(NamedTuple):
    """Memory of one block: where it begins, and who may touch it.

    An address and no object: a thread that hangs in a system call keeps nobody from giving the memory back.
    """

    address: int
    gate: Gate


class Move(NamedTuple):
    """A block on its way: of which namespace, which one, through whose buffer, from or to which row."""

    spec: BlockSpec
    key: bytes
    buffer: BlockBuffer
    row: Row


class BlockRead(NamedTuple):
    """What a read found. failure: why the row has not got the block's bytes; None also for a file that may_be_read
    refuses, of which nothing is read.
    """

    found: FileStat
    failure: OSError | Corrupt | None = None


class DataPath(Protocol):
    """Moves the bytes of one block. Thread: any, each with a buffer of its own. Blocks: as long as storage does.

    Rows are touched only inside their gate, or by the kernel while it writes them out.
    """

    name: str

    def new_gate(self) -> Gate:
        """One that this implementation knows, open."""
        ...

    def new_crew(self) -> Crew:
        """One whose threads do without Python what this implementation can."""
        ...

    def read(self, move: Move, folder: int, name: str, mount: Mount) -> BlockRead:
        """Open the block's file, look whether it is one, read it into the row, and check header and checksums.

        folder: a descriptor. Ensures: without a failure, of a file that may_be_read, the row has what was stored.
        Raises: OSError when the file cannot be opened; Cancelled when the gate is closed.
        """
        ...

    def write(self, move: Move, fd: int, *, past_cache: bool = False) -> None:
        """Write the row as the block into an open, empty file: the first stripe last, with the header.

        past_cache: past the page cache, if the row begins on a page. Requires: then it has whole pages.
        Raises: OSError; Cancelled when the gate is closed.
        """
        ...

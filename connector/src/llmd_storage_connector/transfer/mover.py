# SPDX-License-Identifier: Apache-2.0
"""Moving one piece of a job: what an I/O thread does between taking it and saying what became of it.

What is read passes through a buffer of the thread's own: a read that hangs can never land in memory that was given
back. What is written comes straight from the rows: a write that hangs may pick up what replaced its block, and then
does not match the checksum that was taken before.
"""

from __future__ import annotations

from typing import Protocol

from llmd_storage_connector.blocks.format import BlockSpec, checksum
from llmd_storage_connector.blocks.reader import BlockBuffer, Reading
from llmd_storage_connector.blocks.result import Outcome, outcome_of
from llmd_storage_connector.blocks.store import Sink, Source
from llmd_storage_connector.errors import Corrupt, GivenUp
from llmd_storage_connector.eviction.write_budget import Allowance
from llmd_storage_connector.telemetry.rate_limited_log import Quiet
from llmd_storage_connector.transfer.scheduler import Ledger
from llmd_storage_connector.transfer.tasks import Done, Fetch, Job, Kind, Piece


class Store(Protocol):
    """What the engine needs of a block store; every method may hang."""

    spec: BlockSpec
    way: str
    come_and_go_s: float
    touch_after_s: float

    @property
    def folder(self) -> str: ...
    @property
    def is_quick(self) -> bool: ...
    def open(self) -> None: ...
    def contains(self, key: bytes) -> Outcome: ...
    def open_block(self, key: bytes) -> Reading | Outcome: ...
    def get_again(self, key: bytes, buffer: BlockBuffer, sink: Sink) -> Outcome: ...
    def put(self, key: bytes, source: Source) -> Outcome: ...
    def touch(self, key: bytes) -> None: ...
    def try_writing(self) -> Outcome: ...
    def answers(self) -> bool: ...


class Rows(Protocol):
    """The CPU tier's memory: bytes of a row from an offset on. Memory only; releases the interpreter lock."""

    def view(self, row: int, offset: int, length: int) -> memoryview: ...
    def copy_in(self, row: int, offset: int, source: memoryview) -> None: ...


class Mover:
    """Moves pieces between a store and rows.

    Thread: any; each with a buffer of its own. Rows are touched only between the ledger's begin_copy and end_copy, or
    by the kernel while it writes them out.
    """

    def __init__(self, store: Store, rows: Rows, ledger: Ledger, allowance: Allowance, quiet: Quiet) -> None:
        self._store = store
        self._rows = rows
        self._ledger = ledger
        self._allowance = allowance
        self._quiet = quiet
        self._stripe_bytes = store.spec.stripe_bytes
        self._stripes = store.spec.stripe_count

    def move(self, piece: Piece, buffer: BlockBuffer) -> Done:
        """Read or write what the piece stands for. Raises: GivenUp. Blocks: as long as storage does."""
        job, key = piece.job, piece.key
        if piece.fetch is not None:
            return self._read_stripes(piece, piece.fetch, range(piece.index, piece.index + 1), buffer)
        if job.kind is Kind.STORE:
            return self._write(piece)
        reading = self._store.open_block(key)
        if isinstance(reading, Outcome):
            return Done(piece, reading)
        if self._stripes == 1:
            return self._read_only_stripe(piece, reading, buffer)
        fetch = Fetch(reading, self._stripes)
        if not piece.alone:
            self._ledger.unfold(piece, fetch, self._stripes)
        return self._read_stripes(piece, fetch, range(self._stripes if piece.alone else 1), buffer)

    def _write(self, piece: Piece) -> Done:
        job, row, written = piece.job, piece.row, False
        try:
            outcome = self._store.put(piece.key, lambda at, length: self._bytes_of(job, row, at, length))
            written = outcome.ok and not outcome.existed
        finally:
            self._allowance.settle(self._store.spec.file_bytes, written)
        return Done(piece, outcome)

    def _read_only_stripe(self, piece: Piece, reading: Reading, buffer: BlockBuffer) -> Done:
        """A block that is read in one go is checked before it is copied."""
        try:
            source = reading.read(0, buffer)
            outcome = reading.check()
        except (OSError, Corrupt) as error:
            outcome = outcome_of(error)
        finally:
            reading.close()
        if not outcome.ok:
            return Done(piece, self._heal(piece, outcome, buffer))
        if not self._ledger.begin_copy(piece.job):
            return Done(piece)
        try:
            self._rows.copy_in(piece.row, 0, source)
        except BaseException:
            self._ledger.end_copy(piece.job, 0)
            raise
        return Done(piece, outcome, copied_bytes=len(source))

    def _read_stripes(self, piece: Piece, fetch: Fetch, indices: range, buffer: BlockBuffer) -> Done:
        """Read these stripes of a block into its row; whoever ends the last one settles the block."""
        for index in indices:
            if not fetch.is_over:
                self._read_stripe(piece, fetch, index, buffer)
            if fetch.end_stripe():
                outcome = fetch.close()
                return Done(piece) if fetch.given_up else Done(piece, self._heal(piece, outcome, buffer))
        return Done(piece)

    def _heal(self, piece: Piece, outcome: Outcome, buffer: BlockBuffer) -> Outcome:
        """A damaged block is read once more."""
        if not outcome.damaged:
            return outcome
        return self._store.get_again(
            piece.key, buffer, lambda at, source: self._copy_in(piece.job, piece.row, at, source)
        )

    def _read_stripe(self, piece: Piece, fetch: Fetch, index: int, buffer: BlockBuffer) -> None:
        try:
            source = fetch.reading.read(index, buffer)
            self._copy_in(piece.job, piece.row, index * self._stripe_bytes, source)
        except GivenUp:
            fetch.given_up = True
        except (OSError, Corrupt) as error:
            fetch.fail(outcome_of(error))
        except Exception:
            self._quiet.unforeseen("reading a block")
            fetch.fail(Outcome(False, "internal"))

    def _copy_in(self, job: Job, row: int, offset: int, source: memoryview) -> None:
        """Buffer -> row. Raises: GivenUp when the row is no longer the job's."""
        if not self._ledger.begin_copy(job):
            raise GivenUp
        try:
            self._rows.copy_in(row, offset, source)
        finally:
            self._ledger.end_copy(job, len(source))

    def _bytes_of(self, job: Job, row: int, offset: int, length: int) -> tuple[memoryview, int]:
        """Bytes of a row, and their checksum, taken while nobody else can have the row. Raises: GivenUp."""
        if not self._ledger.begin_copy(job):
            raise GivenUp
        try:
            found = self._rows.view(row, offset, length)
            return found, checksum(found)
        finally:
            self._ledger.end_copy(job, 0)

# SPDX-License-Identifier: Apache-2.0
"""Runs of blocks, as native code is told of them."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Iterable

from llmd_storage_connector.blocks.buffer import BlockBuffer
from llmd_storage_connector.blocks.format import BlockSpec, fields_of
from llmd_storage_connector.blocks.native_layout import ITEM, Mover, NativeOrder, Publishing, Transfer
from llmd_storage_connector.blocks.run import Run
from llmd_storage_core import publish
from llmd_storage_core.strategies import STRATEGIES


def order_of(run: Run, *, is_store: bool) -> NativeOrder:
    """To move the run's blocks, whose names, and headers behind the fields, are made by native code.

    Requires: as many bytes in each key. Raises: ValueError for a key that no block has.
    """
    key, mount = run.blocks[0][0], run.mount
    scratches: Iterable[bytes] = itertools.repeat(b"")
    order = NativeOrder(times=ctypes.addressof(run.times))
    if is_store:
        scratches = (publish.next_scratch().encode() for _ in run.blocks)
        way = STRATEGIES.index(mount.publish_strategy)
        order.how = Publishing(way, publish.FILE_MODE, publish.sets_mode(), mount.is_read_past_cache)
    order.items = _items(run, scratches)
    transfer = transfer_of(run.spec)
    fields = fields_of(run.spec, key)
    transfer.fields, transfer.fields_bytes = fields, len(fields) - len(key)
    transfer.flags, transfer.group = mount.read_flags, mount.group
    transfer.owner, transfer.other_owner = mount.owner_pair
    transfer.writes_past_cache = is_store and mount.is_written_past_cache
    order.transfer = transfer
    return order


def transfer_of(spec: BlockSpec) -> Transfer:
    """For one whole block."""
    return Transfer(
        payload_bytes=spec.payload_bytes,
        stripe_bytes=spec.stripe_bytes,
        header_bytes=spec.header_bytes,
        row_bytes=spec.payload_bytes,
        stripes=spec.stripe_count,
        stripe_count=spec.stripe_count,
    )


def mover_of(buffer: BlockBuffer) -> Mover:
    """The thread that owns the buffer."""
    return Mover(buffer.address, len(buffer.whole), ctypes.addressof(buffer.checksums))


def _items(run: Run, scratches: Iterable[bytes]) -> bytes:
    pack, length = ITEM.pack, len(run.blocks[0][0])
    blocks = zip(run.blocks, run.folders, scratches, strict=False)
    return b"".join([pack(address, folder.fd, length, key, scratch) for (key, address), folder, scratch in blocks])

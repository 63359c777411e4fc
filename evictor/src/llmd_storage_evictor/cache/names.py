# SPDX-License-Identifier: Apache-2.0
"""The names the cache uses in its directory. Pure. Nothing else there is ever touched.

<root>/<32 hex>/                       a namespace
<root>/<32 hex>/<xx>/<key>.kvb         a block; xx is the key's first byte
<root>/<32 hex>/damaged/<key>.kvb      a damaged block, in quarantine
<root>/<32 hex>/<xx>/.<writer>-<n>.tmp a block being written
<root>/.evictor/                       the evictor's own files
<root>/.weights/                       engines' digests of weights; not the evictor's
"""

from __future__ import annotations

import re

import xxhash

from llmd_storage_connector.blocks import layout
from llmd_storage_connector.blocks.format import MAX_KEY_BYTES
from llmd_storage_core.scratch import is_scratch

STATE_FOLDER = ".evictor"
WRITERS_FOLDER = "writers"  # below STATE_FOLDER: reports of engines
BLOCK_FOLDERS = (*layout.fanout_names(), layout.DAMAGED)
_ENGINE_ID = re.compile(r"[0-9a-f]{12}")
_NAMESPACE = re.compile(rf"[0-9a-f]{{{2 * layout.NAMESPACE_NAME_BYTES}}}")

__all__ = [
    "BLOCK_FOLDERS",
    "STATE_FOLDER",
    "WRITERS_FOLDER",
    "file_id",
    "is_engine_id",
    "is_namespace",
    "is_scratch",
    "key_of_block",
]


def is_namespace(name: str) -> bool:
    """Whether a folder of this name is a namespace (layout.namespace_name)."""
    return _NAMESPACE.fullmatch(name) is not None


def is_engine_id(name: str) -> bool:
    """Whether an engine could have chosen this id for its report."""
    return _ENGINE_ID.fullmatch(name) is not None


def key_of_block(folder: str, name: str) -> bytes | None:
    """The key of a block file with this name in this folder of a namespace. None: no block, or in the wrong folder."""
    key = layout.key_of(name)
    if key is None or len(key) > MAX_KEY_BYTES:
        return None
    return key if folder in (layout.DAMAGED, layout.block_folder(key)) else None


def file_id(name: str) -> int:
    """A 64-bit hash of a file's name in its folder: the name itself takes ten times the memory."""
    return xxhash.xxh3_64_intdigest(name.encode("utf-8", "surrogateescape"))

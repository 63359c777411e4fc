# SPDX-License-Identifier: Apache-2.0
"""What in the cache directory is the cache's own. Pure; everything not named here is never touched.

<root>/<32 hex>/                       a namespace
<root>/<32 hex>/<xx>/<key>.kvb         a block; xx is the key's first byte
<root>/<32 hex>/damaged/<key>.kvb      a damaged block, set aside
<root>/<32 hex>/<xx>/.<writer>-<n>.tmp a block being written
<root>/.evictor/                       the evictor's own files
"""

from __future__ import annotations

import re

import xxhash

from llmd_storage_connector import layout
from llmd_storage_connector.format import MAX_KEY_BYTES
from llmd_storage_connector.layout import is_scratch

STATE_FOLDER = ".evictor"
PROBE_FOLDER = ".probe"
FOLDERS = (*layout.fanout_names(), layout.DAMAGED)
_NAMESPACE = re.compile(rf"[0-9a-f]{{{2 * layout.NAMESPACE_NAME_BYTES}}}")

__all__ = ["FOLDERS", "PROBE_FOLDER", "STATE_FOLDER", "block_id", "is_namespace", "is_scratch", "key_in"]


def is_namespace(name: str) -> bool:
    """Whether layout.namespace_name makes such names."""
    return _NAMESPACE.fullmatch(name) is not None


def key_in(folder: str, name: str) -> bytes | None:
    """The key of a block file of this name in this folder of a namespace; None: not a block, or not its place."""
    key = layout.key_of(name)
    if key is None or len(key) > MAX_KEY_BYTES:
        return None
    return key if folder in (layout.DAMAGED, layout.block_folder(key)) else None


def block_id(name: str) -> int:
    """64 bits that stand for a file's name in its folder: a name takes ten times the memory."""
    return xxhash.xxh3_64_intdigest(name.encode("utf-8", "surrogateescape"))

# SPDX-License-Identifier: Apache-2.0
"""Names of files and folders. Pure: nothing here touches a filesystem.

    <root>/<identity>/manifest.json        what the namespace's blocks belong to, in words
    <root>/<identity>/<xx>/<key>.kvb       a block; xx = first byte of its hash
    <root>/<identity>/<xx>/.<writer>.tmp   a block that is being written
    <root>/<identity>/damaged/<key>.kvb    a block that failed its checks, out of the way
    <root>/<identity>/.collected           when an engine last began to remove leftovers: its mtime
    <root>/.weights/<stamp>.json           the digest of a file of weights that was read before

One level of 256 folders, all made when the namespace is opened: an absent block costs one failed
name look-up in a folder the client already knows, and no store ever makes a folder. More levels would
cost a round trip each; one flat folder would serialise look-ups on clients that lock per folder.
"""

from __future__ import annotations

from collections.abc import Iterator

BLOCK_SUFFIX = ".kvb"
MANIFEST = "manifest.json"
DAMAGED = "damaged"
COLLECTED = ".collected"
WEIGHTS = ".weights"
FANOUT = 256
# 128 bits tell namespaces apart; every block's header carries the whole digest.
NAMESPACE_NAME_BYTES = 16
_FANOUT_NAMES = tuple(f"{index:02x}" for index in range(FANOUT))


def namespace_name(identity: bytes) -> str:
    """Folder of the namespace, under root_dir."""
    return identity[:NAMESPACE_NAME_BYTES].hex()


def fanout_names() -> Iterator[str]:
    """The folders of a namespace that hold blocks."""
    return iter(_FANOUT_NAMES)


def block_folder(key: bytes) -> str:
    """Folder of the block, under the namespace. Keys start with a hash, so folders fill evenly."""
    return _FANOUT_NAMES[key[0]]


def block_name(key: bytes) -> str:
    """File name of the block, in its folder."""
    return key.hex() + BLOCK_SUFFIX


def key_of(name: str) -> bytes | None:
    """The key a file name stands for, or None when it is not a block's name (leave such files alone)."""
    stem, dot, suffix = name.rpartition(".")
    if dot + suffix != BLOCK_SUFFIX or stem != stem.lower():
        return None
    try:
        key = bytes.fromhex(stem)
    except ValueError:
        return None
    return key if key and key.hex() == stem else None

# SPDX-License-Identifier: Apache-2.0
"""The index on disk, so that a new leader starts with what the last one knew.

One file a namespace, `.evictor/index/<namespace>`: magic, JSON head with its length, the arrays of all folders one
after the other, and a checksum over everything before it. A file that does not match is ignored. A checkpoint of a
folder holds until the folder has changed, and no file is removed without a fresh stat.

Both ways go folder by folder: beside the index itself they need no memory that would grow with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from array import array
from typing import BinaryIO

import xxhash

from llmd_storage_connector.blocks.format import Buffer
from llmd_storage_evictor.cache import names
from llmd_storage_evictor.cache.directory import CacheDirectory, open_regular, replace_file
from llmd_storage_evictor.core.index import Folder, Index

_MAGIC = b"LLMDIDX1"
_FOLDER = "index"
_MAX_HEAD_BYTES = 1 << 20
_DAMAGED = "not a checkpoint, or a damaged one"


def save(directory: CacheDirectory, index: Index) -> None:
    """Write the index of every namespace. Raises: OSError (a full disk); then the previous checkpoints stay.

    Of other connectors' directories there is none: their namespaces have names of any length.
    """
    if directory.layout is not None:
        return
    directory.make_state_folder(_FOLDER)
    known = index.namespaces()
    with directory.folder(names.STATE_FOLDER, _FOLDER) as fd:
        for namespace in known:
            replace_file(fd, namespace, encode(index.folders(namespace), index.models.get(namespace)))
        for name in os.listdir(fd):
            if names.is_namespace(name) and name not in known:
                os.unlink(name, dir_fd=fd)


def load(directory: CacheDirectory) -> Index:
    """The saved index; unreadable files are skipped. Raises: OSError."""
    index = Index()
    try:
        with directory.folder(names.STATE_FOLDER, _FOLDER) as fd:
            for name in sorted(filter(names.is_namespace, os.listdir(fd))):
                with contextlib.suppress(ValueError, FileNotFoundError), open_regular(fd, name) as file:
                    folders, model = decode(file, os.fstat(file.fileno()).st_size)
                    for folder, content in folders.items():
                        index.put(name, folder, content)
                    if model is not None:
                        index.models[name] = model
    except (FileNotFoundError, NotADirectoryError):
        return Index()
    return index


def encode(folders: dict[str, Folder], model: str | None) -> list[Buffer]:
    """The content of the file, in parts: the folders' own arrays. model: None when it is not known."""
    head = json.dumps(
        {
            "byteorder": sys.byteorder,
            "folders": {name: len(folder.ids) for name, folder in folders.items()},
            "changed": {name: folder.changed_ns for name, folder in folders.items()},
            "model": model,
        }
    ).encode()
    parts: list[Buffer] = [_MAGIC, len(head).to_bytes(4, "little"), head]
    for folder in folders.values():
        parts += [memoryview(numbers).cast("B") for numbers in (folder.ids, folder.mtimes, folder.sizes)]
    digest = xxhash.xxh3_64()
    for part in parts:
        digest.update(part)
    return [*parts, digest.digest()]


def decode(file: BinaryIO, size: int) -> tuple[dict[str, Folder], str | None]:
    """The inverse of encode(). size: of the file, in bytes. Raises: ValueError when the content is damaged; OSError."""
    digest = xxhash.xxh3_64()
    start = _read(file, 12, digest)
    length = int.from_bytes(start[8:], "little")
    if start[:8] != _MAGIC or length > min(size, _MAX_HEAD_BYTES):
        raise ValueError(_DAMAGED)
    try:
        head = json.loads(_read(file, length, digest))
        counts = {str(name): int(count) for name, count in head["folders"].items()}
        # Checkpoints of versions before this say nothing of changes: each folder is listed again.
        changed = {name: int(head.get("changed", {}).get(name, 0)) for name in counts}
        byteorder, model = head["byteorder"], head.get("model")
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(_DAMAGED) from error
    if byteorder != sys.byteorder:
        raise ValueError("written by another kind of machine")
    # Before memory is taken for what a damaged head asks for.
    if min(counts.values(), default=0) < 0 or size != 12 + length + 24 * sum(counts.values()) + digest.digest_size:
        raise ValueError(_DAMAGED)
    folders = {}
    for name, count in counts.items():
        ids, mtimes, sizes = (array("Q", _read(file, 8 * count, digest)) for _ in range(3))
        folders[name] = Folder(ids=ids, mtimes=mtimes, sizes=sizes, changed_ns=changed[name]).update_totals()
    if file.read(digest.digest_size) != digest.digest():
        raise ValueError(_DAMAGED)
    return folders, model


def _read(file: BinaryIO, count: int, digest: xxhash.xxh3_64) -> bytes:
    data = file.read(count)
    if len(data) < count:
        raise ValueError(_DAMAGED)
    digest.update(data)
    return data

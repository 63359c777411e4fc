# SPDX-License-Identifier: Apache-2.0
"""The index on disk, so that a new leader starts with what the last one knew.

One file a namespace, `.evictor/index/<namespace>`: magic, JSON head with its length, the arrays of all folders one
after the other, and a checksum over everything before it. A file that does not match is ignored. A checkpoint holds
only until a folder is listed, and no file is removed without a fresh stat.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from array import array

import xxhash

from llmd_storage_connector.blocks.format import Buffer
from llmd_storage_evictor.cache import names
from llmd_storage_evictor.cache.directory import CacheDirectory, read_file, replace_file
from llmd_storage_evictor.core.index import Folder, Index

_MAGIC = b"LLMDIDX1"
_FOLDER = "index"
_LIMIT = 1 << 34


def save(directory: CacheDirectory, index: Index) -> None:
    """Write the index of every namespace. Raises: OSError (a full disk); then the previous checkpoints stay."""
    directory.make_state_folder(_FOLDER)
    known = index.namespaces()
    with directory.folder(names.STATE_FOLDER, _FOLDER) as fd:
        for namespace in known:
            replace_file(fd, namespace, encode(index.folders(namespace), index.models.get(namespace)))
        for name in os.listdir(fd):
            if names.is_namespace(name) and name not in known:
                os.unlink(name, dir_fd=fd)


def load(directory: CacheDirectory) -> Index:
    """The saved index; unreadable files are skipped. Every folder is due to be listed again. Raises: OSError."""
    index = Index()
    try:
        with directory.folder(names.STATE_FOLDER, _FOLDER) as fd:
            for name in sorted(filter(names.is_namespace, os.listdir(fd))):
                with contextlib.suppress(ValueError, FileNotFoundError):
                    folders, model = decode(read_file(fd, name, _LIMIT))
                    for folder, content in folders.items():
                        index.put(name, folder, content)
                    if model is not None:
                        index.models[name] = model
    except (FileNotFoundError, NotADirectoryError):
        return Index()
    return index


def encode(folders: dict[str, Folder], model: str | None) -> list[Buffer]:
    """The content of the file, in parts. model: None when it is not known."""
    counts = {name: len(folder.ids) for name, folder in folders.items()}
    head = json.dumps({"byteorder": sys.byteorder, "folders": counts, "model": model}).encode()
    parts: list[Buffer] = [_MAGIC, len(head).to_bytes(4, "little"), head]
    for folder in folders.values():
        parts += [numbers.tobytes() for numbers in (folder.ids, folder.mtimes, folder.sizes)]
    digest = xxhash.xxh3_64()
    for part in parts:
        digest.update(part)
    return [*parts, digest.digest()]


def decode(data: bytes) -> tuple[dict[str, Folder], str | None]:
    """The inverse of encode(). Raises: ValueError when the data is damaged."""
    if data[:8] != _MAGIC or xxhash.xxh3_64_digest(memoryview(data)[:-8]) != data[-8:]:
        raise ValueError("not a checkpoint, or a damaged one")
    length = int.from_bytes(data[8:12], "little")
    head = json.loads(data[12 : 12 + length])
    if head["byteorder"] != sys.byteorder:
        raise ValueError("written by another kind of machine")
    at, folders = 12 + length, {}
    for name, count in head["folders"].items():
        columns = []
        for _ in range(3):
            numbers = array("Q")
            numbers.frombytes(data[at : at + 8 * count])
            columns.append(numbers)
            at += 8 * count
        folders[name] = Folder(ids=columns[0], mtimes=columns[1], sizes=columns[2]).update_totals()
    return folders, head.get("model")

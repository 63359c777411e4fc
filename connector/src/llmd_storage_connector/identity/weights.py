# SPDX-License-Identifier: Apache-2.0
"""Which weights a local model directory holds, without reading all of them.

A Hugging Face hub snapshot is named by its commit. Any other directory is sampled: for safetensors, the
header and bytes of *every* tensor, so that one retrained tensor of equal size shows. Paths, file names and
times do not count: a copy elsewhere has the same fingerprint.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from llmd_storage_connector.errors import Misconfigured

_SNAPSHOT = re.compile(r"/models--(?P<repo>[^/]+)/snapshots/(?P<commit>[0-9a-f]{40})(?:/|$)")
_OTHER_WEIGHTS = (".bin", ".pt", ".pth", ".gguf")
_MAX_HEADER_BYTES = 100_000_000
# A tensor up to this size is read whole; of a larger one this many pieces, ends included.
_WHOLE_BYTES = 32 * 1024
_PIECES = 8
_PIECE_BYTES = 4 * 1024
_FILE_PIECES = 256
_THREADS = 8


def fingerprint(path: Path) -> dict[str, Any]:
    """Facts that differ when the weights differ.

    Raises: Misconfigured when there are no weights to look at. Blocks: a few thousand small reads.
    """
    snapshot = _SNAPSHOT.search(str(path.absolute()))
    if snapshot:
        repository = snapshot["repo"].replace("--", "/")
        return {"kind": "hub", "repository": repository, "commit": snapshot["commit"]}
    files = _weight_files(path)
    if not files:
        raise Misconfigured(
            f"no weight files (*.safetensors, {', '.join('*' + s for s in _OTHER_WEIGHTS)}) in {path}: the "
            "connector cannot tell whose KV cache this would be; serve the model from a local directory"
        )
    with ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="llmd-weights") as pool:
        digests = sorted(pool.map(_file_digest, files))
    whole = hashlib.sha256("\n".join(digests).encode()).hexdigest()
    return {"kind": "sampled", "files": len(files), "sha256": whole}


def _weight_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    safetensors = sorted(path.glob("*.safetensors"))
    return safetensors or sorted(file for file in path.glob("*") if file.suffix in _OTHER_WEIGHTS)


def _file_digest(path: Path) -> str:
    digest = hashlib.sha256()
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        digest.update(size.to_bytes(8, "little"))
        if path.suffix == ".safetensors":
            header, data_at = _safetensors_header(fd, path, size)
            digest.update(header)
            ranges = _tensor_ranges(header, data_at, path)
            pieces: Iterable[tuple[int, int]] = (
                piece for start, end in ranges for piece in _pieces(start, end, _PIECES)
            )
        else:
            pieces = _pieces(0, size, _FILE_PIECES)
        for offset, count in pieces:
            digest.update(os.pread(fd, count, offset))
    finally:
        os.close(fd)
    return digest.hexdigest()


def _safetensors_header(fd: int, path: Path, size: int) -> tuple[bytes, int]:
    length = int.from_bytes(os.pread(fd, 8, 0), "little")
    if not 0 < length <= min(_MAX_HEADER_BYTES, size - 8):
        raise Misconfigured(f"{path} is not a safetensors file: its header would have {length} bytes")
    return os.pread(fd, length, 8), 8 + length


def _tensor_ranges(header: bytes, data_at: int, path: Path) -> list[tuple[int, int]]:
    """Where each tensor lies in the file, in file order."""
    try:
        entries = json.loads(header)
        offsets = [entry["data_offsets"] for name, entry in entries.items() if name != "__metadata__"]
        return sorted((data_at + int(start), data_at + int(end)) for start, end in offsets)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Misconfigured(f"{path} is not a safetensors file: {error}") from error


def _pieces(start: int, end: int, count: int) -> Iterator[tuple[int, int]]:
    """(offset, length) of what is read of a range: all of it, or evenly spread pieces with both ends."""
    if end - start <= max(_WHOLE_BYTES, count * _PIECE_BYTES):
        yield start, end - start
        return
    for index in range(count):
        yield start + (end - start - _PIECE_BYTES) * index // (count - 1), _PIECE_BYTES

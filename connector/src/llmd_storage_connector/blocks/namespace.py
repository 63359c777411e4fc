# SPDX-License-Identifier: Apache-2.0
"""Open a namespace: its folders and its manifest, made once by whoever comes first."""

from __future__ import annotations

import errno
import json
import logging
import os
import secrets
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from llmd_storage_connector import __version__
from llmd_storage_connector.blocks import layout
from llmd_storage_connector.errors import Unusable
from llmd_storage_connector.identity.facts import digest_of, manifest
from llmd_storage_core import publish
from llmd_storage_core.folders import make_folder
from llmd_storage_core.scratch import scratch_name

_THREADS = 16
# Refusals of writing that say nothing against reading.
WRITE_REFUSED = frozenset({errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM})

logger = logging.getLogger("vllm.llmd_storage_connector.blocks.namespace")


def open_namespace(root: Path, facts: Mapping[str, Any], model: str = "") -> tuple[Path, bool]:
    """The folder for blocks with this identity, and whether it takes files (else it is for reading only).

    model: the model's name for people and for the evictor's rules, "" when it has none. The first one counts.

    Ensures: manifest.json states `facts`. It is written last, so where one is there the folders are, and opening costs
    one read; but for a copy that was made without them (see complete).
    Raises: OSError (see unusable); Unusable with one sentence. Blocks: as long as storage does.
    """
    folder = root / layout.namespace_name(digest_of(facts))
    # Its parent must be there: without the claim mounted, blocks would silently go to the pod's own disk.
    make_folder(root)
    stored = _manifest(folder, facts)
    if stored is None:
        _make_folders(folder)
        _write_manifest(folder, facts, model)
        return folder, True
    try:
        writable = _is_writable(folder)
    except FileNotFoundError:
        complete(folder)
        writable = _is_writable(folder)
    if writable and model and not stored.get("model"):
        _write_manifest(folder, facts, model)  # made by an engine that had a copy without a name
    return folder, writable


def complete(folder: Path) -> None:
    """Make the folders that a namespace with a manifest lacks: many tools that copy one leave out what is empty.

    Raises: Unusable. Blocks: as long as storage does.
    """
    try:
        _make_folders(folder)
    except OSError as error:
        raise Unusable(
            f"{folder} has a manifest, but lacks folders that cannot be made ({error.strerror} at {error.filename}): "
            "copy it again together with its empty folders, or make it writable for this pod's user or group",
            transient=True,
        ) from error


def unusable(root: Path, error: OSError) -> Unusable:
    """What an error while a namespace is opened means for the engine."""
    return Unusable(
        f"root_dir {root} cannot be used ({error.strerror} at {error.filename}): mount the shared "
        "claim there, writable for this pod's user or group, or set root_dir to where it is",
        transient=True,
    )


def _manifest(folder: Path, facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """The manifest, if there is one. One that states other facts under this digest is never used."""
    try:
        stored = json.loads((folder / layout.MANIFEST).read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        return None  # damaged: written anew
    if isinstance(stored, dict) and stored.get("fields") == dict(facts):
        return stored
    raise Unusable(
        f"{folder / layout.MANIFEST} states another identity than its folder's name: "
        "someone moved or edited it; remove that folder"
    )


def _is_writable(folder: Path) -> bool:
    """Whether files can be made there. What is full, read-only or forbidden can still be read from."""
    probe = folder / layout.DAMAGED / scratch_name(secrets.token_hex(6), 0)
    try:
        os.close(os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, publish.FILE_MODE))
        probe.unlink()
    except OSError as error:
        if error.errno not in WRITE_REFUSED:
            raise
        logger.warning("%s takes no files (%s): blocks are read from it, and stored when it does", folder, error)
        return False
    return True


def _make_folders(folder: Path) -> None:
    make_folder(folder)
    names = [layout.DAMAGED, *layout.fanout_names()]
    with ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="llmd-mkdir") as pool:
        list(pool.map(lambda name: make_folder(folder / name), names))


def _write_manifest(folder: Path, facts: Mapping[str, Any], model: str) -> None:
    text = json.dumps(manifest(facts, f"llmd_storage_connector {__version__}", model), indent=2, sort_keys=True)
    # Fsync under the final name: seen whole and at once by other nodes, also after a crash.
    publish.publish("rename_fsync", str(folder), layout.MANIFEST, publish.whole([text.encode() + b"\n"]))

# SPDX-License-Identifier: Apache-2.0
"""Which snapshot of a hub cache an engine has loaded, looked at afterwards.

A name such as main is resolved by vLLM while it loads, and may name another commit by the time the connector looks:
another pod that shares the cache follows the hub. Nothing keeps what was resolved, so it is inferred, or refused.
"""

from __future__ import annotations

import re
from pathlib import Path

from llmd_storage_connector.errors import Misconfigured

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SNAPSHOT = re.compile(r"/models--(?P<repository>[^/]+)/snapshots/[0-9a-f]{40}/*$")
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf")


def folder_of(cache: Path, repository: str) -> Path:
    """Where the cache keeps a repository of models."""
    return cache / f"models--{repository.replace('/', '--')}"


def repository_of(path: str) -> str:
    """The repository whose snapshot lies at this path, for display; "" when it does not look like one."""
    found = _SNAPSHOT.search(path)
    return found["repository"].replace("--", "/", 1) if found else ""


def loaded_snapshot(
    repository: Path, revision: str | None, started_s: float, suffixes: tuple[str, ...] = WEIGHTS
) -> Path | None:
    """The snapshot of which a process that started at this Unix time has loaded files. None: there is none.

    repository: as folder_of() says. suffixes: of the files.

    Raises: Misconfigured when it could be one of several; OSError.
    """
    revision = revision or "main"
    snapshots = repository / "snapshots"
    if _COMMIT.fullmatch(revision):
        return snapshots / revision if _has(snapshots / revision, suffixes) else None
    ref = repository / "refs" / revision
    try:
        moved_s = ref.stat().st_mtime
        found = [folder for folder in snapshots.iterdir() if _has(folder, suffixes)]
        named = snapshots / ref.read_text().strip()
    except FileNotFoundError:
        return None
    if len(found) <= 1:
        return found[0] if found else None  # they came from nowhere else, whatever the name says by now
    if moved_s >= started_s:
        raise Misconfigured(
            f"revision {revision!r} in {repository} came to name another commit while this engine started, so nothing "
            "says which one was loaded: start it again, or set --revision to a commit"
        )
    return named if named in found else None


def _has(snapshot: Path, suffixes: tuple[str, ...]) -> bool:
    try:
        return any(file.suffix in suffixes for file in snapshot.rglob("*"))
    except (FileNotFoundError, NotADirectoryError):
        return False

# SPDX-License-Identifier: Apache-2.0
"""What each release says of a shared cache, `.evictor/rules/<release>.json`: its budget, and what it protects.

Whoever leads keeps to all of it.
"""

from __future__ import annotations

import json
import os
import re
from typing import NamedTuple

from llmd_storage_core import settings
from llmd_storage_evictor.cache import names
from llmd_storage_evictor.cache.directory import CacheDirectory, read_file, replace_file
from llmd_storage_evictor.config import Config, NamespaceRule

_FOLDER = "rules"
_RELEASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\.json")
_MAX_BYTES = 1 << 20
# A release writes its rules anew every hour; what was not written for a day is of one that is gone.
WRITE_EVERY_S = 3600.0
_GONE_AFTER_S = 24 * 3600.0


class Statement(NamedTuple):
    """What a release has written. budget_bytes: None where it says none, as versions before this did."""

    rules: tuple[NamespaceRule, ...]
    budget_bytes: int | None = None


def release_name(config: Config, cluster: str = "") -> str:
    """What tells this release from all others that share a directory. cluster: what tells clusters apart; "": one.

    Not by the Lease: releases on one claim share it.
    """
    parts = (config.lease_namespace or "local", config.lease_owner or config.lease_name, cluster)
    return ".".join(part for part in parts if part)


def save(directory: CacheDirectory, config: Config, release: str) -> None:
    """Write this release's budget and what it protects: pins and minimums. Raises: OSError."""
    rules = [
        {"namespace": rule.namespace, "model": rule.model, "pinned": rule.pinned, "minimum_bytes": rule.minimum_bytes}
        for rule in config.namespaces
    ]
    directory.make_state_folder(_FOLDER)
    with directory.folder(names.STATE_FOLDER, _FOLDER) as fd:
        content = {"version": 1, "budget_bytes": config.effective_budget_bytes, "rules": rules}
        replace_file(fd, f"{release}.json", [json.dumps(content).encode() + b"\n"])


def load_others(directory: CacheDirectory, release: str, now: float) -> dict[str, Statement]:
    """What the other releases say, by file. now: by the storage's clock. Raises: OSError."""
    found: dict[str, Statement] = {}
    try:
        with directory.folder(names.STATE_FOLDER, _FOLDER) as fd:
            for name in sorted(filter(_RELEASE.fullmatch, os.listdir(fd))):
                age_s = now - os.stat(name, dir_fd=fd, follow_symlinks=False).st_mtime
                if name == f"{release}.json" or age_s > _GONE_AFTER_S:
                    continue
                found[name] = _parse(read_file(fd, name, _MAX_BYTES))
    except (FileNotFoundError, NotADirectoryError):
        return found
    return found


def _parse(data: bytes) -> Statement:
    """Of a file that cannot be read, everything counts as pinned: it may."""
    try:
        content = json.loads(data)
        rules = tuple(settings.decode(NamespaceRule, rule) for rule in content["rules"])
        budget = content.get("budget_bytes")
        return Statement(rules, int(budget) if budget else None)
    except (ValueError, KeyError, TypeError, AttributeError):
        return Statement((NamespaceRule(pinned=True),))

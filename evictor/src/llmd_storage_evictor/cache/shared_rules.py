# SPDX-License-Identifier: Apache-2.0
"""What each release protects of a shared cache, `.evictor/rules/<release>.json`: whoever leads keeps to all of it."""

from __future__ import annotations

import json
import os
import re

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


def file_of(config: Config) -> str:
    """The file of this release."""
    return f"{config.lease_namespace or 'local'}.{config.lease_name}.json"


def save(directory: CacheDirectory, config: Config) -> None:
    """Write what this release protects: pins and minimums. Raises: OSError."""
    rules = [
        {"namespace": rule.namespace, "model": rule.model, "pinned": rule.pinned, "minimum_bytes": rule.minimum_bytes}
        for rule in config.namespaces
    ]
    directory.make_state_folder(_FOLDER)
    with directory.folder(names.STATE_FOLDER, _FOLDER) as fd:
        replace_file(fd, file_of(config), [json.dumps({"version": 1, "rules": rules}).encode() + b"\n"])


def load_others(directory: CacheDirectory, config: Config, now: float) -> dict[str, tuple[NamespaceRule, ...]]:
    """The rules of the other releases, by file. now: by the storage's clock. Raises: OSError."""
    found = {}
    try:
        with directory.folder(names.STATE_FOLDER, _FOLDER) as fd:
            for name in sorted(filter(_RELEASE.fullmatch, os.listdir(fd))):
                age_s = now - os.stat(name, dir_fd=fd, follow_symlinks=False).st_mtime
                if name == file_of(config) or age_s > _GONE_AFTER_S:
                    continue
                found[name] = _parse(read_file(fd, name, _MAX_BYTES))
    except (FileNotFoundError, NotADirectoryError):
        return found
    return found


def _parse(data: bytes) -> tuple[NamespaceRule, ...]:
    """Of a file that cannot be read, everything counts as pinned: it may."""
    try:
        return tuple(settings.decode(NamespaceRule, rule) for rule in json.loads(data)["rules"])
    except (ValueError, KeyError, TypeError):
        return (NamespaceRule(pinned=True),)

# SPDX-License-Identifier: Apache-2.0
"""The small files by which the evictor talks to engines: room.json and advice.json (formats: docs/evictor.md)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from llmd_storage_evictor.cache import names
from llmd_storage_evictor.cache.directory import CacheDirectory, read_file, replace_file

_GRANTS = "room.json"
_ADVICE = "advice.json"
_LIMITS = "limits.json"
_MAX_LIMITS_BYTES = 4096
_MAX_GRANTS_BYTES = 16 << 20


def load_limits(directory: CacheDirectory) -> dict[str, int]:
    """Write limits in bytes by engine, as last saved; empty when there are none. Raises: OSError."""
    try:
        with directory.folder(names.STATE_FOLDER) as fd:
            found = json.loads(read_file(fd, _GRANTS, _MAX_GRANTS_BYTES))["room"]["limits"]
        return {name: int(limit) for name, limit in found.items() if names.is_engine_id(name)}
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def save_limits(directory: CacheDirectory, new_engine_bytes: int, limits: dict[str, int]) -> None:
    """new_engine_bytes: the limit of engines that are not in `limits`. Raises: OSError."""
    content: dict[str, Any] = {"newcomer": new_engine_bytes, "limits": limits}
    _save(directory, _GRANTS, {"version": 1, "room": content})


def save_touch_interval(directory: CacheDirectory, touch_after_s: float) -> None:
    """Tell readers how old a block's mtime may get before they refresh it. Raises: OSError."""
    directory.make_state_folder()
    _save(directory, _ADVICE, {"version": 1, "touchAfterS": round(touch_after_s, 1)})


@dataclass(frozen=True, slots=True)
class LimitsState:
    """accepted, announced: digests of limits; "": none. since: when they were announced, by the storage's clock."""

    accepted: str = ""
    announced: str = ""
    since: float = 0.0


def load_limits_state(directory: CacheDirectory) -> LimitsState:
    """As last saved. Raises: OSError."""
    try:
        with directory.folder(names.STATE_FOLDER) as fd:
            found = json.loads(read_file(fd, _LIMITS, _MAX_LIMITS_BYTES))
        return LimitsState(str(found["accepted"]), str(found["announced"]), float(found["since"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return LimitsState()


def save_limits_state(directory: CacheDirectory, state: LimitsState) -> None:
    """Raises: OSError."""
    directory.make_state_folder()
    _save(directory, _LIMITS, {"version": 1} | asdict(state))


def _save(directory: CacheDirectory, name: str, content: dict[str, Any]) -> None:
    with directory.folder(names.STATE_FOLDER) as fd:
        replace_file(fd, name, [json.dumps(content).encode() + b"\n"])

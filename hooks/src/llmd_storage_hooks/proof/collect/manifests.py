# SPDX-License-Identifier: Apache-2.0
"""The manifests of the namespaces on the claim, where it is mounted into the proof's pod."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from llmd_storage_hooks.core.clock import Deadline, SystemClock
from llmd_storage_hooks.core.timeout import CallTimeout, bounded

LIMIT_S = 10.0


def last_two(root: str) -> list[dict[str, Any]]:
    """The manifests of the two namespaces below `root` that were used last (engines touch theirs), the older first.

    Fewer where there are fewer, or where the volume cannot be read: they only help to explain a miss. Blocks up to:
    LIMIT_S and a grace.
    """
    try:
        return bounded(lambda: _read(Path(root)), Deadline.after(SystemClock(), LIMIT_S))
    except (OSError, ValueError, CallTimeout):
        return []


def _read(root: Path) -> list[dict[str, Any]]:
    found = sorted(root.glob("*/manifest.json"), key=lambda path: path.stat().st_mtime)
    read = [json.loads(path.read_text(encoding="utf-8")) for path in found[-2:]]
    return [one for one in read if isinstance(one, dict)]

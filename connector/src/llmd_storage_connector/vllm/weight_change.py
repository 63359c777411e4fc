# SPDX-License-Identifier: Apache-2.0
"""Whether an engine's weights were changed while it runs: marked by its workers, looked up by its scheduler.

Blocks belong to the weights that were loaded at the start. vLLM can replace these in a running engine (reload_weights,
weight transfer) and tells a connector nothing of it; what the new ones are nobody knows, since they need not come from
files. So a worker leaves a mark, an empty file beside the CPU tier's memory, before it changes anything, and from then
on nothing is looked up or stored.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from llmd_storage_connector.errors import Unusable
from llmd_storage_connector.vllm.internals_0_32 import before_weight_change, region_path


def weights_changed() -> Unusable:
    """What it means for the storage tier."""
    return Unusable(
        "this engine's weights were changed while it runs, and nothing says what the new ones are: KV cache storage is "
        "not used until it is started again"
    )


class WeightMark:
    """See the module's head. Thread: any."""

    def __init__(self, engine_id: str) -> None:
        self._path = Path(f"{region_path(engine_id)}.weights-changed")

    def watch(self) -> None:
        """In a worker's process: mark every change of weights before it begins."""
        before_weight_change(self._path.touch)

    def clear(self) -> None:
        """At an engine's start and end: a killed one with the same id may have left its mark."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()

    @property
    def is_set(self) -> bool:
        """One stat in memory: a microsecond."""
        return os.path.exists(self._path)

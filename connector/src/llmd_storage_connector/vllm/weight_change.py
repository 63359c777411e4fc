# SPDX-License-Identifier: Apache-2.0
"""Weights that are changed in a running engine: its workers say so, its scheduler looks.

Blocks belong to the weights that were loaded at the start. vLLM can replace these in a running engine (reload_weights,
weight transfer) and tells a connector nothing of it; what the new ones are nobody knows, since they need not come from
files. So a worker marks the engine's file (shared_memory.py) before it changes anything, and from then on nothing is
looked up or stored.
"""

from __future__ import annotations

from llmd_storage_connector.errors import Unusable


def weights_changed() -> Unusable:
    """What it means for the storage tier."""
    return Unusable(
        "this engine's weights were changed while it runs, and nothing says what the new ones are: KV cache storage is "
        "not used until it is started again"
    )

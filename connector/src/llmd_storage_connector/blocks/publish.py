# SPDX-License-Identifier: Apache-2.0
"""Which publish strategy blocks get on a mount: the configured one, or for "auto" what is right and quick there."""

from __future__ import annotations

import logging

from llmd_storage_core import publish, strategies

logger = logging.getLogger("vllm.llmd_storage_connector.blocks.publish")

_TRIAL_BYTES = 4 << 20


def choose(strategy: str, filesystem: str, folder: str, block_bytes: int) -> str:
    """The strategy that a configured one stands for on this mount; "auto" is decided by writing a few files.

    folder: where they are written and removed again. Raises: OSError. Blocks: as long as storage does.
    """
    candidates = strategies.candidates(strategy, filesystem)
    if len(candidates) == 1:
        return candidates[0]
    payload = bytes(min(block_bytes, _TRIAL_BYTES))
    seconds = {name: publish.measure(name, folder, payload) for name in candidates}
    used = strategies.best(seconds)
    shown = ", ".join(f"{name} {1e3 * took:.1f} ms" for name, took in seconds.items())
    logger.info("a block of %d bytes on %s takes: %s; used: %s", len(payload), filesystem or "storage", shown, used)
    return used

# SPDX-License-Identifier: Apache-2.0
"""A store whose identity is not known before it is opened: the weights are read meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmd_storage_connector.blocks.format import BlockSpec
from llmd_storage_connector.blocks.store import BlockStore
from llmd_storage_connector.identity.facts import digest_of


class UnidentifiedStore(BlockStore):
    """A BlockStore whose facts come from `identify`, each time it is opened."""

    def __init__(
        self,
        root: Path,
        identify: Callable[[], Mapping[str, Any]],
        spec: BlockSpec,
        strategy: str,
        *,
        model: str = "",
        direct_io: str = "auto",
    ) -> None:
        """spec: its identity is replaced. identify: raises Unusable, or Pending when the facts are not known yet."""
        super().__init__(root, {}, spec, strategy, model=model, direct_io=direct_io)
        self._identify = identify

    def open(self) -> None:
        """See BlockStore.open. Raises what `identify` raises; no folder is touched then."""
        facts = self._identify()
        self._facts, self.spec = facts, replace(self.spec, identity=digest_of(facts))
        super().open()

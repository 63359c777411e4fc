# SPDX-License-Identifier: Apache-2.0
"""An engine together with its storage below and what is right: the words of the tests of sick storage."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.engine.process import Engine, Metrics, block_files, prompt, wait_for_blocks
from tests.patience import eventually

BLOCKS = 10


@dataclass
class Served:
    """root: the blocks, seen without the fault in between; right: an engine without a cache."""

    engine: Engine
    root: Path
    right: Callable[[list[int]], list[int]]
    seeds: itertools.count[int] = field(default_factory=lambda: itertools.count(1000))

    def fresh(self) -> list[int]:
        """A prompt that nobody has asked yet."""
        return prompt(next(self.seeds), BLOCKS)

    def check(self, tokens: list[int] | None = None, **fields: Any) -> None:
        """Ask (by default something new) and compare.

        While storage hangs, an answer at all shows that nothing waits for it for ever: how long is the soak's to say.
        """
        tokens = self.fresh() if tokens is None else tokens
        assert self.engine.generate(tokens, **fields) == self.right(tokens)

    def stored(self) -> tuple[list[int], list[Path]]:
        """A prompt whose blocks are in storage and nowhere else, and its files."""
        before, tokens = set(block_files(self.root)), self.fresh()
        self.check(tokens)
        after = wait_for_blocks(self.root, len(before) + BLOCKS)
        self.engine.forget()
        return tokens, sorted(set(after) - before)

    def loads(self, tokens: list[int]) -> int:
        """Ask again with empty caches. Returns: how many blocks came from storage."""
        self.engine.forget()
        before = self.engine.metrics().ours("loaded_blocks")
        self.check(tokens)
        return round(self.engine.metrics().ours("loaded_blocks") - before)

    def comes_back(self, tokens: list[int]) -> None:
        """Wait until all blocks of a prompt come from storage: what failed is believed for a moment to be absent."""
        eventually(lambda: self.loads(tokens) == BLOCKS, f"all {BLOCKS} blocks to come from storage")

    def rises(self, metrics: Metrics, name: str, what: str = "", **label: str) -> None:
        """Wait until a count is above what it was."""
        self.engine.wait_until(
            lambda seen: seen.ours(name, **label) > metrics.ours(name, **label), what or f"{name} {label} counts"
        )

    def uses_storage_again(self) -> None:
        """Wait until the breaker is closed, writing is not paused, and a new prompt's blocks come back whole."""

        def well() -> bool:
            self.check()  # a paused writer tries with the next block that there is to write
            seen = self.engine.metrics()
            return seen.ours("breaker_open") == seen.ours("writes_paused") == 0 and seen.ours("usable") == 1

        eventually(well, "storage that is well to be used")
        self.comes_back(self.stored()[0])

# SPDX-License-Identifier: Apache-2.0
"""An engine together with its storage below and what is right: the words of the tests of sick storage."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.engine.process import Engine, Metrics, block_files, prompt, wait_for_blocks

BLOCKS = 10
# Seconds within which storage that is well again is used again.
RECOVERY_S = 30.0


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

    def check(self, tokens: list[int] | None = None, **fields: Any) -> float:
        """Ask (by default something new) and compare. Returns: seconds until the answer."""
        tokens = self.fresh() if tokens is None else tokens
        answer = self.engine.ask("generate", prompt=tokens, max_tokens=8, **fields)
        assert answer["tokens"] == self.right(tokens)
        return answer["seconds"]

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
        limit = time.monotonic() + RECOVERY_S
        while (loaded := self.loads(tokens)) < BLOCKS:
            assert time.monotonic() < limit, f"{loaded} of {BLOCKS} blocks come from storage\n{self.engine.metrics()}"
            time.sleep(0.5)

    def rises(self, metrics: Metrics, name: str, what: str = "", **label: str) -> None:
        """Wait until a count is above what it was."""
        self.engine.wait_until(
            lambda seen: seen.ours(name, **label) > metrics.ours(name, **label), what or f"{name} {label} counts"
        )

    def uses_storage_again(self) -> None:
        """Wait until the breaker is closed, writing is not paused, and a new prompt's blocks come back whole."""
        limit = time.monotonic() + RECOVERY_S
        while True:
            self.check()  # a paused writer tries with the next block that there is to write
            seen = self.engine.metrics()
            if seen.ours("breaker_open") == seen.ours("writes_paused") == 0 and seen.ours("usable") == 1:
                break
            assert time.monotonic() < limit, f"storage is well and not used after {RECOVERY_S:g} s\n{seen}"
            time.sleep(0.5)
        self.comes_back(self.stored()[0])

# SPDX-License-Identifier: Apache-2.0
"""The engines of a soak: what is done to them, and what each has to answer after it."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.engine.process import Engine, Metrics
from tests.faultfs import FaultFS

# Whose answer is asked for: the model's, that of the checkpoint which weights are reloaded from, an adapter's versions.
BASE, OTHER, VERSIONS = "base", "other weights", ("adapter 0", "adapter 1")
# One in so many requests is for the adapter.
_ADAPTER_EVERY = 4
# A reset waits for transfers, and the engine ends what storage does not.
_TIMEOUT_S = 60.0


class Adapter:
    """One that is trained again and again: under its path there is one version at a time."""

    def __init__(self, path: Path, versions: Mapping[str, Path]) -> None:
        self.path = path
        self._versions = versions

    def publish(self, version: str) -> None:
        """Replace its files. By renaming: an engine may have the old ones mapped."""
        self.path.mkdir(exist_ok=True)
        for file in self._versions[version].iterdir():
            made = shutil.copy(file, self.path / f".{file.name}")
            os.replace(made, self.path / file.name)


class Server:
    """One engine, on a mount of its own. start: makes one, which is waited for with begin()."""

    def __init__(self, fs: FaultFS, start: Callable[[], Engine], adapter: Adapter, other: Path) -> None:
        self.fs = fs
        self.name = fs.at.name
        self.version = VERSIONS[0]
        self.has_other_weights = False
        self.slowest_reset_s = 0.0
        self._start = start
        self._adapter = adapter
        self._other = other
        self.engine = start()

    def begin(self) -> None:
        """Wait until it serves, and load the adapter. Raises: RuntimeError."""
        self.engine.wait_ready()
        self._load_adapter()

    def restart(self) -> Metrics:
        """Kill it, as a pod is that ends, and start it with the model's own weights. Returns: what it had counted."""
        seen = self.engine.metrics()
        self.engine.kill()
        self.engine = self._start()
        self.has_other_weights = False
        self.begin()
        return seen

    def variant(self, rng: random.Random) -> str:
        """Whose answer to ask it for now."""
        if self.has_other_weights:
            return OTHER  # vLLM has let go of adapters
        return self.version if rng.randrange(_ADAPTER_EVERY) == 0 else BASE

    def ask(self, tokens: Sequence[int], variant: str) -> dict[str, Any]:
        """{"tokens": ..., "seconds": ...}. Raises: RuntimeError when it gives no answer."""
        lora = {"lora": str(self._adapter.path)} if variant in VERSIONS else {}
        return self.engine.ask("generate", prompt=list(tokens), max_tokens=8, timeout_s=_TIMEOUT_S, **lora)

    def replace_adapter(self) -> None:
        """Another version under the same name and path, loaded in place: load_lora_adapter with load_inplace."""
        self.version = VERSIONS[1 - VERSIONS.index(self.version)]
        self._load_adapter()
        self.reset()  # vLLM keeps blocks of the old version, and says so

    def reset(self) -> None:
        """Forget all caches of the engine: reset_prefix_cache with reset_connector."""
        began = time.monotonic()
        self.engine.ask("reset", timeout_s=_TIMEOUT_S)
        self.slowest_reset_s = max(self.slowest_reset_s, time.monotonic() - began)

    def reload_weights(self) -> None:
        """Another checkpoint's weights: collective_rpc reload_weights, and the reset that has to follow."""
        self.engine.ask("reload", path=str(self._other), timeout_s=_TIMEOUT_S)
        self.has_other_weights = True
        self.reset()

    def _load_adapter(self) -> None:
        self._adapter.publish(self.version)
        self.engine.ask("load_adapter", path=str(self._adapter.path), timeout_s=_TIMEOUT_S)


EVENTS: dict[str, Callable[[Server], None]] = {
    "adapter replaced": Server.replace_adapter,
    "caches reset": Server.reset,
    "weights reloaded": Server.reload_weights,
}

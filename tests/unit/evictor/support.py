# SPDX-License-Identifier: Apache-2.0
"""A small cache on local disk, made of the connector's own names, and an evictor whose clocks stand still."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from llmd_storage_connector.blocks import layout
from llmd_storage_connector.blocks.format import BlockSpec, encode_header
from llmd_storage_connector.identity.facts import digest_of, manifest
from llmd_storage_evictor.cache import names
from llmd_storage_evictor.cache.directory import CacheDirectory
from llmd_storage_evictor.config import Config, parse
from llmd_storage_evictor.controller.context import Context
from llmd_storage_evictor.controller.controller import Controller
from llmd_storage_evictor.controller.liveness import Liveness
from llmd_storage_evictor.controller.metrics import Metrics
from llmd_storage_evictor.controller.troubles import Troubles
from llmd_storage_evictor.layouts import LAYOUTS
from tests.unit.connector.conftest import make_facts

NOW = 1_800_000_000.0
BLOCK = 4096 + 1024
PAYLOAD = BLOCK - 4096


def key(number: int) -> bytes:
    """As vLLM makes them: a hash, here spread over all folders, and a group."""
    return bytes([number % 256]) + number.to_bytes(31, "big") + (0).to_bytes(4, "big")


@dataclass
class Namespace:
    """One namespace's folder."""

    root: Path
    facts: dict[str, Any]
    spec: BlockSpec = field(init=False)

    def __post_init__(self) -> None:
        self.spec = BlockSpec(digest_of(self.facts), PAYLOAD)
        for name in names.BLOCK_FOLDERS:
            (self.path / name).mkdir(parents=True, exist_ok=True)
        (self.path / layout.MANIFEST).write_text(json.dumps(manifest(self.facts, "test")))

    @property
    def name(self) -> str:
        return layout.namespace_name(self.spec.identity)

    @property
    def path(self) -> Path:
        return self.root / self.name

    def file(self, number: int) -> Path:
        return self.path / layout.block_folder(key(number)) / layout.block_name(key(number))

    def store(self, number: int, age_s: float = 0.0, damaged: bool = False) -> Path:
        path = self.path / "damaged" / layout.block_name(key(number)) if damaged else self.file(number)
        payload = number.to_bytes(8, "big") * (PAYLOAD // 8)
        path.write_bytes(encode_header(self.spec, key(number), payload) + payload)
        stamp(path, age_s)
        return path

    def numbers(self) -> list[int]:
        """Blocks that are there."""
        found = [layout.key_of(path.name) for path in self.path.glob("[0-9a-f][0-9a-f]/*.kvb")]
        return sorted(int.from_bytes(one[1:32], "big") for one in found if one)


def stamp(path: Path, age_s: float) -> None:
    when = int((NOW - age_s) * 1e9)
    os.utime(path, ns=(when, when), follow_symlinks=False)


def namespace(root: Path, **changes: Any) -> Namespace:
    root.mkdir(parents=True, exist_ok=True)
    return Namespace(root, make_facts(**changes))


def make_unreadable(monkeypatch: pytest.MonkeyPatch, folder: str, error: OSError) -> None:
    """Let the scanner's listing of each namespace's folder of this name fail."""
    listdir = os.listdir

    def failing(fd: int) -> list[str]:
        if os.readlink(f"/proc/self/fd/{fd}").endswith(f"/{folder}"):
            raise error
        return listdir(fd)

    monkeypatch.setattr("llmd_storage_evictor.cache.listing.os.listdir", failing)


def config(root: Path, **changes: Any) -> Config:
    """Ten blocks of budget, removed from nine down to eight unless told otherwise."""
    settings = {"root_dir": str(root), "budget_bytes": 10 * BLOCK, "free_floor_bytes": 0}
    settings |= {"grace_s": 0, "allow_large_removal": True}
    return parse(settings | {"high_watermark": 0.9, "low_watermark": 0.8, "probe_dir": ""} | changes)


@dataclass
class Bench:
    """A controller that thinks it leads. may: set to [False] to take that away; now: wall clock; ticks: monotonic."""

    controller: Controller
    metrics: Metrics
    directory: CacheDirectory
    troubles: Troubles
    may: list[bool]
    now: list[float]
    ticks: list[float]

    def round(self) -> float:
        return self.controller.reconcile()

    def removed(self, reason: str) -> int:
        value = self.metrics.registry.get_sample_value("llmd_storage_evictor_removed_files_total", {"reason": reason})
        return int(value or 0)

    def metric(self, name: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"llmd_storage_evictor_{name}")


@contextmanager
def evictor(
    settings: Config, storage_time: Callable[[CacheDirectory], float] | None = None, ahead_s: float = 0.0
) -> Iterator[Bench]:
    """storage_time: the storage's clock; None: it agrees with the wall clock. ahead_s: what that is ahead of NOW."""
    directory = CacheDirectory(settings.root_dir, LAYOUTS.get(settings.layout))
    metrics = Metrics(lambda: now[0])
    may, now, ticks = [True], [NOW + ahead_s], [1000.0]
    troubles = Troubles(lambda: ticks[0])
    directory.open()
    with ThreadPoolExecutor(2) as pool:
        context = Context(
            directory, pool, lambda: may[0], metrics, Liveness(60), troubles,
            clock=lambda: ticks[0], wall_clock=lambda: now[0], storage_time=storage_time or (lambda _: now[0]),
        )  # fmt: skip
        controller = Controller(settings, context)
        controller.open()
        yield Bench(controller, metrics, directory, troubles, may, now, ticks)
    directory.close()

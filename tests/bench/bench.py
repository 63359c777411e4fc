"""What every case gets: places, the two workers, and the loop that lets the sides take turns."""

from __future__ import annotations

import contextlib
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.places import Place, fresh_disk, slow
from tests.bench.rows import Row
from tests.bench.worker import Side

Measure = Callable[[], float | Mapping[str, float]]


# One that is measured from inside, and those with processes of their own.
_WORKERS = {
    "timed": ("ours", "--timed"),
    "ours apart": ("ours",),
    "stock apart": ("stock",),
    "another apart": ("ours",),
}


@dataclass
class Bench:
    """One run. raw: every figure that was taken, for build/bench-raw.json."""

    local: Place
    quick: bool
    mounts: Sequence[Path] = ()
    rows: list[Row] = field(default_factory=list)
    raw: list[dict[str, Any]] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    _sides: dict[str, Side] = field(default_factory=dict)

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self.began:6.0f} s  {text}", file=sys.stderr, flush=True)

    def add(self, row: Row) -> None:
        self.rows.append(row)
        shown = row.as_json()
        figures = ", ".join(
            f"{side} {shown[side]:.4g}" for side in ("ours", "stock", "limit") if shown[side] is not None
        )
        verdict = {True: "met", False: "NOT met", None: ""}[row.met]
        ratio = f", ratio {row.ratio:.3g}" if row.ratio is not None else ""
        self.say(f"= {row.name}: {figures} {row.unit}{ratio} {shown['target'] or ''} {verdict}")

    def times(self, full: int, quick: int = 2) -> int:
        return quick if self.quick else full

    def side(self, name: str) -> Side:
        """The worker "ours", "stock", or one of _WORKERS, started at first use."""
        if name not in self._sides:
            side, *flags = _WORKERS.get(name, (name,))
            self._sides[name] = Side(side, self.local.behind / f"worker-{name.replace(' ', '-')}.log", *flags)
        return self._sides[name]

    @contextlib.contextmanager
    def slow(self, link_mib_s: int = 0) -> Iterator[Place]:
        with slow(self.local, link_mib_s) as place, self._let_go():
            yield place

    @contextlib.contextmanager
    def fresh_disk(self) -> Iterator[Place]:
        with fresh_disk(self.local) as place, self._let_go():
            yield place

    @contextlib.contextmanager
    def _let_go(self) -> Iterator[None]:
        """A tier holds folders of its mount open: at the end tiers are closed, and ended where the end comes early."""
        try:
            yield
            for side in self._sides.values():
                side.ask("close")
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        while self._sides:
            self._sides.popitem()[1].end()

    def alternate(self, case: str, repeats: int, measures: Mapping[str, Measure]) -> dict[str, list[Any]]:
        """Take all measures `repeats` times in turn, so that pairs share a mood, in an order by chance: what one leaves
        to the next, such as a disk's used-up credit, is not always left to the same.
        """
        taken: dict[str, list[Any]] = {name: [] for name in measures}
        names = list(measures)
        for repeat in range(repeats):
            random.shuffle(names)
            for name in names:
                value = measures[name]()
                taken[name].append(value)
                self.raw.append({"case": case, "measure": name, "repeat": repeat, "value": value})
                self.say(f"{case}, {repeat + 1} of {repeats}, {name}: {_short(value)}")
        return taken


def _short(value: float | Mapping[str, float]) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {figure:.4g}" for key, figure in value.items())
    return f"{value:.4g}"

"""A row of the result table: what was measured on each side, and how far that is from its target. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

LIMIT, STOCK, OURS = "limit", "stock", "ours"


@dataclass(frozen=True)
class Goal:
    """What a row has to reach. against: LIMIT or STOCK (a ratio to that side), or OURS (the figure itself)."""

    against: str
    value: float
    at_least: bool = True

    def holds(self, figure: float) -> bool:
        return figure >= self.value if self.at_least else figure <= self.value

    def text(self, unit: str) -> str:
        sign = "≥" if self.at_least else "≤"
        if self.against == OURS:
            return f"{sign} {self.value:g} {unit}"
        return f"{sign} {self.value:g} x {self.against}"


@dataclass
class Row:
    """Repeats of one figure on up to three sides, in the order they were taken, so that they can be paired.

    goal None: for information only.
    """

    name: str
    unit: str
    ours: Sequence[float]
    stock: Sequence[float] = ()
    limit: Sequence[float] = ()
    goal: Goal | None = None
    note: str = ""
    command: str = ""
    group: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        """Ours to the side that the goal names; the limit, or else stock, where it names none."""
        side = self.goal.against if self.goal and self.goal.against != OURS else None
        other = {LIMIT: self.limit, STOCK: self.stock, None: self.limit or self.stock}[side]
        return paired_ratio(self.ours, other)

    @property
    def met(self) -> bool | None:
        """None: there is no goal, or the side to compare with could not be measured."""
        if self.goal is None:
            return None
        figure = median(self.ours) if self.goal.against == OURS else self.ratio
        return None if figure is None else self.goal.holds(figure)

    def as_json(self) -> dict[str, Any]:
        sides = {OURS: self.ours, STOCK: self.stock, LIMIT: self.limit}
        return {
            "name": self.name,
            "group": self.group,
            "unit": self.unit,
            **{side: median(values) for side, values in sides.items()},
            "ratio": self.ratio,
            "target": self.goal.text(self.unit) if self.goal else None,
            "met": self.met,
            "spread": {side: spread(values) for side, values in sides.items()},
            "repeats": {side: list(values) for side, values in sides.items()},
            "note": self.note,
            "command": self.command,
            **({"details": self.details} if self.details else {}),
        }


def median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def spread(values: Sequence[float]) -> dict[str, float] | None:
    return {"min": min(values), "median": statistics.median(values), "max": max(values)} if values else None


def paired_ratio(ours: Sequence[float], other: Sequence[float]) -> float | None:
    """The median of the ratios repeat by repeat: both of a pair met the machine in the same mood."""
    if not ours or not other:
        return None
    if len(ours) != len(other):
        return statistics.median(ours) / statistics.median(other)
    return statistics.median(mine / theirs for mine, theirs in zip(ours, other, strict=True))


def quicker(limit: Sequence[float], stock: Sequence[float]) -> tuple[Sequence[float], str]:
    """The limit that a rate is held against, and what to say of it: what another gets out of the same mount is no less
    possible than what fio does.
    """
    if stock and (not limit or statistics.median(stock) > statistics.median(limit)):
        return stock, "limit: the stock tier, which is quicker than fio; "
    return limit, ""


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (0 to 1) of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-int(share * 1000 * len(ordered)) // 1000) - 1)]

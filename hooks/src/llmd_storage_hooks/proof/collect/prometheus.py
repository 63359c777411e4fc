# SPDX-License-Identifier: Apache-2.0
"""Prometheus' text format to samples."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SAMPLE = re.compile(r"^([A-Za-z_:][A-Za-z0-9_:]*)(?:\{(.*)\})?\s+(\S+)")
_LABEL = re.compile(r'([A-Za-z_][A-Za-z0-9_]*)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of a scrape."""

    name: str
    labels: dict[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Metrics:
    """`families` holds declared names too: a labelled counter that never counted has no sample."""

    families: frozenset[str]
    samples: tuple[Sample, ...]

    def total(self, name: str, **labels: str) -> float:
        """Sum of the samples of `name` whose labels contain the given texts; 0 when there is none."""
        return sum(
            one.value
            for one in self.samples
            if one.name == name and all(text in one.labels.get(key, "") for key, text in labels.items())
        )

    def by_label(self, label: str, *names: str) -> dict[str, float]:
        """What these have counted, by the value of `label`; zeros are left out."""
        found: dict[str, float] = {}
        for one in self.samples:
            if one.name in names and one.value > 0:
                value = one.labels.get(label, "")
                found[value] = found.get(value, 0.0) + one.value
        return found

    def shown(self, name: str) -> bool:
        """Whether `name` has a value."""
        return any(one.name == name for one in self.samples)

    def has(self, prefix: str) -> bool:
        return any(name.startswith(prefix) for name in self.families)


def parse(text: str) -> Metrics:
    """Lines that are not samples are passed over."""
    families, samples = set(), []
    for line in text.splitlines():
        if line.startswith("#"):
            words = line.split(None, 3)
            if len(words) >= 3 and words[1] in ("TYPE", "HELP"):
                families.add(words[2])
            continue
        match = _SAMPLE.match(line)
        if match is None:
            continue
        try:
            value = float(match[3])
        except ValueError:
            continue
        families.add(match[1])
        samples.append(Sample(match[1], dict(_LABEL.findall(match[2] or "")), value))
    return Metrics(frozenset(families), tuple(samples))

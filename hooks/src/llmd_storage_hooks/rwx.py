# SPDX-License-Identifier: Apache-2.0
"""Whether a provisioner gives ReadWriteMany filesystems: a table as data (data/rwx.yaml) and its lookup.

The table is made from the chart's facts of storage (charts/llm-d-storage/charts/storage/files/backends.yaml).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

KNOWN_GOOD = "CephFS, NFS, Lustre, EFS, FSx, Filestore, Azure Files, Weka, VAST, IBM Storage Scale"


class Rwx(StrEnum):
    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Rule:
    parameter: str
    matches: tuple[str, ...]
    verdict: Rwx


@dataclass(frozen=True, slots=True)
class SizeRule:
    """A volume's size must be min, min+step, ... max (GiB)."""

    min_gi: int
    max_gi: int
    step_gi: int


@dataclass(frozen=True, slots=True)
class Sizes:
    """Rules by the value of one parameter of the class; `otherwise`: the value where it is not set."""

    parameter: str
    otherwise: str
    rules: Mapping[str, SizeRule]


@dataclass(frozen=True, slots=True)
class Entry:
    name: str
    rules: tuple[Rule, ...]
    otherwise: Rwx
    source: str
    shared: str
    hint: str
    sizes: Sizes | None
    checked: str

    def size_rule(self, parameters: Mapping[str, str]) -> SizeRule | None:
        """The rule for a class with these parameters; None where there is none, or none is known."""
        if self.sizes is None:
            return None
        value = _parameter(parameters, self.sizes.parameter)
        return self.sizes.rules.get(self.sizes.otherwise if value is None else value)


@dataclass(frozen=True, slots=True)
class Answer:
    """`because` names the parameter that decided, when one did."""

    rwx: Rwx
    because: str
    entry: Entry | None


def table(raw: Mapping[str, Any]) -> tuple[Entry, ...]:
    """The data file's content as entries. A broken table is a bug, so it raises."""
    return tuple(_entry(one) for one in raw["provisioners"])


def _entry(raw: Mapping[str, Any]) -> Entry:
    rules = tuple(
        Rule(rule["parameter"], tuple(rule["matches"]), Rwx(rule["verdict"])) for rule in raw.get("rules", ())
    )
    depends = raw["verdict"] == "depends"
    return Entry(
        name=raw["name"],
        rules=rules,
        otherwise=Rwx(raw["otherwise"] if depends else raw["verdict"]),
        source=raw["source"],
        shared=raw.get("shared", ""),
        hint=raw.get("hint", ""),
        sizes=_sizes(raw["sizes"]) if "sizes" in raw else None,
        checked=raw.get("checked", ""),
    )


def _sizes(raw: Mapping[str, Any]) -> Sizes:
    rules = {value: SizeRule(one["minGi"], one["maxGi"], one["stepGi"]) for value, one in raw["rules"].items()}
    return Sizes(raw["parameter"], raw["otherwise"], rules)


def find(entries: Iterable[Entry], provisioner: str) -> Entry | None:
    """An exact name wins over a pattern."""
    known = list(entries)
    exact = next((entry for entry in known if entry.name == provisioner), None)
    return exact or next((entry for entry in known if fnmatchcase(provisioner, entry.name)), None)


def answer(
    entries: Iterable[Entry],
    provisioner: str,
    parameters: Mapping[str, str],
    overrides: Mapping[str, str],
) -> Answer:
    entry = find(entries, provisioner)
    if provisioner in overrides:
        return Answer(Rwx(overrides[provisioner]), f'hooks.rwxOverrides."{provisioner}"', entry)
    if entry is None:
        return Answer(Rwx.UNKNOWN, "", None)
    for rule in entry.rules:
        value = _parameter(parameters, rule.parameter)
        if value is not None and any(fnmatchcase(value.lower(), pattern) for pattern in rule.matches):
            return Answer(rule.verdict, f"parameter {rule.parameter}={value}", entry)
    return Answer(entry.otherwise, "", entry)


def _parameter(parameters: Mapping[str, str], name: str) -> str | None:
    # The filesystem type has an old, unprefixed spelling that drivers still take.
    old = {"csi.storage.k8s.io/fstype": "fstype"}.get(name)
    lower = {key.lower(): value for key, value in parameters.items()}
    value = lower.get(name.lower())
    return value if value is not None or old is None else lower.get(old)

# SPDX-License-Identifier: Apache-2.0
"""Preflight, RWX: does a provisioner give ReadWriteMany filesystems? The table (data/rwx.yaml) and its lookup.

The table is made from the chart's facts of storage (charts/llm-d-storage/charts/storage/files/backends.yaml).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

KNOWN_GOOD = "CephFS, NFS, Lustre, EFS, FSx, Filestore, Azure Files over NFS, Weka, VAST, IBM Storage Scale"


class Rwx(StrEnum):
    """Whether volumes are ReadWriteMany filesystems."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ParameterRule:
    """RWX or not, where `parameter` of the class matches one of the patterns."""

    parameter: str
    matches: tuple[str, ...]
    rwx: Rwx


@dataclass(frozen=True, slots=True)
class SizeRule:
    """A volume's size must be min, min+step, ... max (GiB)."""

    min_gi: int
    max_gi: int
    step_gi: int


@dataclass(frozen=True, slots=True)
class SizeRules:
    """Rules by the value of one parameter of the class; `default`: the value where it is not set."""

    parameter: str
    default: str
    rules: Mapping[str, SizeRule]


@dataclass(frozen=True, slots=True)
class Provisioner:
    """One entry of the table. name: exact, or a pattern; shared, hint: what to use instead where it is not RWX.

    why: what its volumes lack, where that is something else.
    """

    name: str
    rules: tuple[ParameterRule, ...]
    default: Rwx
    source: str
    shared: str
    hint: str
    why: str
    sizes: SizeRules | None
    checked: str

    def size_rule(self, parameters: Mapping[str, str]) -> SizeRule | None:
        """The rule for a class with these parameters; None where there is none, or none is known."""
        if self.sizes is None:
            return None
        value = _parameter(parameters, self.sizes.parameter)
        return self.sizes.rules.get(self.sizes.default if value is None else value)


@dataclass(frozen=True, slots=True)
class RwxSupport:
    """What is known of a class. because: the parameter or override that decided; "" = the provisioner alone did."""

    rwx: Rwx
    because: str
    provisioner: Provisioner | None


def table(raw: Mapping[str, Any]) -> tuple[Provisioner, ...]:
    """The data file as provisioners. Raises: KeyError or ValueError for a broken file, which is a bug."""
    return tuple(_provisioner(one) for one in raw["provisioners"])


def _provisioner(raw: Mapping[str, Any]) -> Provisioner:
    rules = tuple(
        ParameterRule(rule["parameter"], tuple(rule["matches"]), Rwx(rule["verdict"])) for rule in raw.get("rules", ())
    )
    depends = raw["verdict"] == "depends"
    return Provisioner(
        name=raw["name"],
        rules=rules,
        default=Rwx(raw["otherwise"] if depends else raw["verdict"]),
        source=raw["source"],
        shared=raw.get("shared", ""),
        hint=raw.get("hint", ""),
        why=raw.get("why", ""),
        sizes=_size_rules(raw["sizes"]) if "sizes" in raw else None,
        checked=raw.get("checked", ""),
    )


def _size_rules(raw: Mapping[str, Any]) -> SizeRules:
    rules = {value: SizeRule(one["minGi"], one["maxGi"], one["stepGi"]) for value, one in raw["rules"].items()}
    return SizeRules(raw["parameter"], raw["otherwise"], rules)


def find(entries: Iterable[Provisioner], provisioner: str) -> Provisioner | None:
    """An exact name wins over a pattern."""
    known = list(entries)
    exact = next((one for one in known if one.name == provisioner), None)
    return exact or next((one for one in known if fnmatchcase(provisioner, one.name)), None)


def rwx_support(
    entries: Iterable[Provisioner],
    provisioner: str,
    parameters: Mapping[str, str],
    overrides: Mapping[str, str],
) -> RwxSupport:
    """Overrides first, then the rules by parameter, then the provisioner's default."""
    known = find(entries, provisioner)
    if provisioner in overrides:
        return RwxSupport(Rwx(overrides[provisioner]), f'hooks.rwxOverrides."{provisioner}"', known)
    if known is None:
        return RwxSupport(Rwx.UNKNOWN, "", None)
    for rule in known.rules:
        value = _parameter(parameters, rule.parameter)
        if value is not None and any(fnmatchcase(value.lower(), pattern) for pattern in rule.matches):
            return RwxSupport(rule.rwx, f"parameter {rule.parameter}={value}", known)
    return RwxSupport(known.default, "", known)


def _parameter(parameters: Mapping[str, str], name: str) -> str | None:
    # Drivers still take the old, unprefixed spelling of the filesystem type.
    old = {"csi.storage.k8s.io/fstype": "fstype"}.get(name)
    lower = {key.lower(): value for key, value in parameters.items()}
    value = lower.get(name.lower())
    return value if value is not None or old is None else lower.get(old)

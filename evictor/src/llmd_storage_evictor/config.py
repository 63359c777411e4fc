# SPDX-License-Identifier: Apache-2.0
"""What an operator may set: one table, for the parser and the JSON Schema.

`python -m llmd_storage_evictor.config` prints schemas/evictor-config.schema.json.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmd_storage_evictor.errors import Misconfigured
from llmd_storage_evictor.options import BYTES, REQUIRED, Option, read_table

SCHEMA_ID = "urn:llm-d-storage:schema:evictor-config:1"
BUDGET_SHARE = 0.9
FLOOR_SHARE = 0.02
_DAY_S = 86400.0

_OPTIONS: dict[str, Option] = {
    "root_dir": Option(str, REQUIRED, "Absolute path of the cache directory: the connector's root_dir."),
    "claim_bytes": Option(
        BYTES,
        None,
        f"Size of the claim. Unless budget_bytes is set, the budget is {BUDGET_SHARE:.0%} of it.",
        minimum=1,
    ),
    "budget_bytes": Option(
        BYTES, None, "Bytes the cache may hold. One of claim_bytes and this must be set.", minimum=1
    ),
    "high_watermark": Option(
        float, 0.95, "Share of the budget (or of a quota) at which removal begins.", minimum=0.01, maximum=1
    ),
    "low_watermark": Option(
        float, 0.9, "Share of the budget (or of a quota) at which it ends.", minimum=0.01, maximum=1
    ),
    "free_floor_bytes": Option(
        BYTES,
        None,
        "Bytes that must stay free on the filesystem, whoever fills it; the cache shrinks for that. "
        f"Unset: {FLOOR_SHARE:.0%} of the budget. 0: the filesystem is not looked at.",
        minimum=0,
    ),
    "ttl_s": Option(float, 0.0, "Seconds after its last use at which a block is removed anyway. 0: never.", minimum=0),
    "pin_younger_s": Option(
        float, 0.0, "Blocks used within so many seconds are never removed, even over budget.", minimum=0
    ),
    "touch_after_s": Option(
        float,
        0.0,
        "How old a block's time must be before connectors refresh it; told to them in .evictor/advice.json. "
        "0: from the age of the oldest blocks.",
        minimum=0,
    ),
    "namespace_unused_s": Option(
        float, 30 * _DAY_S, "Seconds without use after which a whole namespace is removed. 0: never.", minimum=0
    ),
    "damaged_keep_s": Option(
        float, 7 * _DAY_S, "Seconds that damaged blocks are kept for a look. Under pressure they go first.", minimum=0
    ),
    "scratch_keep_s": Option(
        float, 600.0, "Seconds after which an unfinished file is taken for a dead writer's.", minimum=60
    ),
    "probe_dir": Option(
        str, None, 'Where the probe keeps its scratch folders. Unset: .probe beside root_dir. "": not swept.'
    ),
    "probe_keep_s": Option(
        float, _DAY_S, "Seconds after which a probe's scratch is taken for a dead one's.", minimum=3600
    ),
    "poll_s": Option(float, 10.0, "Longest pause between two looks for changes.", minimum=0.1),
    "burst_bytes_s": Option(
        BYTES,
        2**30,
        "Bytes a second that all engines together may begin to write at any time: the less room is left, the oftener "
        "is looked, as far as that costs under 3 % of a core.",
        minimum=1,
    ),
    "relist_s": Option(
        float, 60.0, "Seconds after which a folder is listed though its time has not changed.", minimum=1
    ),
    "rescan_s": Option(float, 3600.0, "Seconds in which every file's size and age is read anew.", minimum=60),
    "checkpoint_s": Option(float, 300.0, "Seconds between two checkpoints.", minimum=1),
    "io_threads": Option(int, 8, "Threads that list and remove files.", minimum=1, maximum=128),
    "stall_s": Option(float, 60.0, "Seconds without progress after which /healthz fails.", minimum=5),
    "journal_bytes": Option(
        BYTES,
        None,
        "Bytes of the journal of removals; the oldest part goes. Unset: a two-hundredth of the budget, within 64Ki and "
        "32Mi.",
        minimum=1 << 16,
    ),
    "http_port": Option(int, 9464, "Port of /metrics and /healthz. 0: none.", minimum=0, maximum=65535),
    "leader_election": Option(
        bool, True, "Whether the leader is elected by a Kubernetes Lease. The lock on the storage holds in any case."
    ),
    "lease_name": Option(str, "llm-d-storage-evictor", "Name of the Lease."),
    "lease_namespace": Option(str, None, "Namespace of the Lease. Unset: the pod's own."),
    "lease_owner": Option(
        str, None, "A ConfigMap beside the Lease: when that is deleted, Kubernetes deletes the Lease. Unset: it stays."
    ),
    "dry_run": Option(bool, False, "Log what would be removed, and write nothing."),
}
_RULE_OPTIONS: dict[str, Option] = {
    "namespace": Option(str, None, "Beginning of the namespace's folder name. Unset: any."),
    "model": Option(str, None, "Hub repository of the model, with * for any text, or a sampled digest. Unset: any."),
    "quota_bytes": Option(BYTES, None, "Bytes that each matching namespace may hold.", minimum=1),
    "minimum_bytes": Option(BYTES, 0, "Bytes of it that neither budget nor floor take.", minimum=0),
    "pinned": Option(bool, False, "Nothing of it is ever removed."),
    "ttl_s": Option(float, None, "Instead of the general ttl_s.", minimum=0),
}
RULES = "namespaces"
_RULES_DOC = "Rules for namespaces; the first that matches holds."


@dataclass(frozen=True, slots=True)
class NamespaceRule:
    """Fields are those of the table; None = unset."""

    namespace: str | None = None
    model: str | None = None
    quota_bytes: int | None = None
    minimum_bytes: int = 0
    pinned: bool = False
    ttl_s: float | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """The settings, checked, defaults filled in. Fields are those of the table."""

    root_dir: str
    budget_bytes: int
    free_floor_bytes: int
    journal_bytes: int
    probe_dir: str
    claim_bytes: int | None = None
    high_watermark: float = 0.95
    low_watermark: float = 0.9
    ttl_s: float = 0.0
    pin_younger_s: float = 0.0
    touch_after_s: float = 0.0
    namespace_unused_s: float = 30 * _DAY_S
    damaged_keep_s: float = 7 * _DAY_S
    scratch_keep_s: float = 600.0
    probe_keep_s: float = _DAY_S
    poll_s: float = 10.0
    burst_bytes_s: int = 2**30
    relist_s: float = 60.0
    rescan_s: float = 3600.0
    checkpoint_s: float = 300.0
    io_threads: int = 8
    stall_s: float = 60.0
    http_port: int = 9464
    leader_election: bool = True
    lease_name: str = "llm-d-storage-evictor"
    lease_namespace: str | None = None
    lease_owner: str | None = None
    dry_run: bool = False
    namespaces: tuple[NamespaceRule, ...] = ()


def parse(raw: Any) -> Config:
    """Raises: Misconfigured naming every fault, one sentence each."""
    if not isinstance(raw, Mapping):
        raise Misconfigured(f"the configuration must be an object, not {json.dumps(raw, default=str)}")
    faults: list[str] = []
    values = read_table(
        _OPTIONS, {name: value for name, value in raw.items() if name != RULES}, "", faults, also=[RULES]
    )
    rules = _rules(raw.get(RULES, []), faults)
    if not faults:
        faults = _contradictions(values, rules)
    if faults:
        raise Misconfigured("evictor configuration: " + "; ".join(faults))
    if values["budget_bytes"] is None:
        values["budget_bytes"] = int(values["claim_bytes"] * BUDGET_SHARE)
    if values["free_floor_bytes"] is None:
        values["free_floor_bytes"] = int(values["budget_bytes"] * FLOOR_SHARE)
    if values["journal_bytes"] is None:
        values["journal_bytes"] = min(32 << 20, max(1 << 16, values["budget_bytes"] // 200))
    if values["probe_dir"] is None:
        values["probe_dir"] = os.path.join(os.path.dirname(values["root_dir"].rstrip("/")), ".probe")
    return Config(**values, namespaces=rules)


def _rules(raw: Any, faults: list[str]) -> tuple[NamespaceRule, ...]:
    if not isinstance(raw, list) or not all(isinstance(one, Mapping) for one in raw):
        faults.append(f"{RULES} must be a list of objects")
        return ()
    before = len(faults)
    tables = [read_table(_RULE_OPTIONS, one, f"{RULES}[{index}].", faults) for index, one in enumerate(raw)]
    return () if len(faults) > before else tuple(NamespaceRule(**table) for table in tables)


def _contradictions(values: Mapping[str, Any], rules: tuple[NamespaceRule, ...]) -> list[str]:
    faults = []
    if not os.path.isabs(values["root_dir"]):
        faults.append(f"root_dir must be an absolute path, not {values['root_dir']!r}")
    if values["claim_bytes"] is None and values["budget_bytes"] is None:
        faults.append("set claim_bytes (the size of the claim) or budget_bytes (what the cache may hold)")
    elif None not in (values["claim_bytes"], values["budget_bytes"]) and values["budget_bytes"] > values["claim_bytes"]:
        faults.append("budget_bytes must not be more than claim_bytes")
    if values["low_watermark"] >= values["high_watermark"]:
        faults.append("low_watermark must be less than high_watermark")
    for index, rule in enumerate(rules):
        if rule.quota_bytes is not None and rule.minimum_bytes > rule.quota_bytes:
            faults.append(f"{RULES}[{index}].minimum_bytes must not be more than its quota_bytes")
        if rule.pinned and (rule.quota_bytes is not None or rule.ttl_s):
            faults.append(f"{RULES}[{index}] is pinned, so it can have neither quota_bytes nor ttl_s")
    return faults


def json_schema() -> dict[str, Any]:
    """The same table as JSON Schema 2020-12."""
    rules = {
        "type": "array",
        "description": _RULES_DOC,
        "default": [],
        "items": {
            "type": "object",
            "additionalProperties": False,
            "properties": {name: option.schema() for name, option in _RULE_OPTIONS.items()},
        },
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "Configuration of the evictor",
        "description": "Made by `python -m llmd_storage_evictor.config`; do not edit.",
        "type": "object",
        "additionalProperties": False,
        "required": [name for name, option in _OPTIONS.items() if option.default is REQUIRED],
        "anyOf": [{"required": ["claim_bytes"]}, {"required": ["budget_bytes"]}],
        "properties": {name: option.schema() for name, option in _OPTIONS.items()} | {RULES: rules},
    }


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=2))

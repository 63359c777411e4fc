# SPDX-License-Identifier: Apache-2.0
"""The configuration: one table, for the parser and the JSON Schema.

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
        float, 0.9, "Share of the budget (or of a quota) at which removal ends.", minimum=0.01, maximum=1
    ),
    "free_floor_bytes": Option(
        BYTES,
        None,
        "Bytes to keep free on the filesystem, whoever fills it; the cache shrinks for that. "
        f"Unset: {FLOOR_SHARE:.0%} of the budget. 0: free space is not checked.",
        minimum=0,
    ),
    "ttl_s": Option(
        float, 0.0, "Seconds after its last use at which a block is removed in any case. 0: never.", minimum=0
    ),
    "pin_younger_s": Option(
        float, 0.0, "Blocks used within this many seconds are never removed, even over budget.", minimum=0
    ),
    "touch_after_s": Option(
        float,
        0.0,
        "How old a block's mtime may get, in seconds, before connectors refresh it; published in .evictor/advice.json. "
        "0: derived from the age of the oldest blocks.",
        minimum=0,
    ),
    "namespace_unused_s": Option(
        float, 30 * _DAY_S, "Seconds without use after which a whole namespace is removed. 0: never.", minimum=0
    ),
    "damaged_keep_s": Option(
        float,
        7 * _DAY_S,
        "Seconds that damaged blocks are kept for inspection. Over budget they are removed first.",
        minimum=0,
    ),
    "scratch_keep_s": Option(
        float, 600.0, "Seconds after which an unfinished file is considered abandoned and removed.", minimum=60
    ),
    "probe_dir": Option(
        str, None, 'Where the probe creates its scratch folders. Unset: .probe beside root_dir. "": not cleaned up.'
    ),
    "probe_keep_s": Option(
        float, _DAY_S, "Seconds after which a probe's scratch folder is considered abandoned and removed.", minimum=3600
    ),
    "poll_s": Option(float, 10.0, "Longest time between two scans, in seconds.", minimum=0.1),
    "burst_bytes_s": Option(
        BYTES,
        2**30,
        "Bytes a second that all engines together may start to write at any time. The less room is left, the more "
        "often the cache is scanned, within 3 % of a core.",
        minimum=1,
    ),
    "relist_s": Option(
        float, 60.0, "Seconds after which a folder is listed even if its mtime has not changed.", minimum=1
    ),
    "rescan_s": Option(float, 3600.0, "Seconds in which every file's size and mtime are read again.", minimum=60),
    "checkpoint_s": Option(float, 300.0, "Seconds between two checkpoints.", minimum=1),
    "io_threads": Option(int, 8, "Threads that list and remove files.", minimum=1, maximum=128),
    "stall_s": Option(float, 60.0, "Seconds without progress after which /healthz fails.", minimum=5),
    "journal_bytes": Option(
        BYTES,
        None,
        "Size limit of the journal of removals; the oldest part is dropped. Unset: 1/200 of the budget, between 64Ki "
        "and 32Mi.",
        minimum=1 << 16,
    ),
    "http_port": Option(int, 9464, "Port of /metrics and /healthz. 0: none.", minimum=0, maximum=65535),
    "leader_election": Option(
        bool, True, "Elect the leader by a Kubernetes Lease. The file lease on the storage is used in any case."
    ),
    "lease_name": Option(str, "llm-d-storage-evictor", "Name of the Lease."),
    "lease_namespace": Option(str, None, "Namespace of the Lease. Unset: the pod's own."),
    "lease_owner": Option(
        str, None, "ConfigMap that owns the Lease: Kubernetes deletes the Lease with it. Unset: the Lease stays."
    ),
    "dry_run": Option(bool, False, "Log what would be removed, and write nothing."),
}
_RULE_OPTIONS: dict[str, Option] = {
    "namespace": Option(str, None, "Beginning of the namespace's folder name. Unset: any."),
    "model": Option(
        str, None, "Hub repository of the model (* matches any text), or the digest of its sampled weights. Unset: any."
    ),
    "quota_bytes": Option(BYTES, None, "Bytes that each matching namespace may hold.", minimum=1),
    "minimum_bytes": Option(
        BYTES, 0, "Bytes of each matching namespace that budget and free-space floor do not touch.", minimum=0
    ),
    "pinned": Option(bool, False, "Never remove anything from matching namespaces."),
    "ttl_s": Option(float, None, "Overrides the general ttl_s.", minimum=0),
}
RULES = "namespaces"
_RULES_DOC = "Rules for namespaces; the first match applies."


@dataclass(frozen=True, slots=True)
class NamespaceRule:
    """One rule. Fields are those of the table; None: unset."""

    namespace: str | None = None
    model: str | None = None
    quota_bytes: int | None = None
    minimum_bytes: int = 0
    pinned: bool = False
    ttl_s: float | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """The validated settings, defaults filled in. Fields are those of the table."""

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
    """Raises: Misconfigured, with one sentence for each problem."""
    if not isinstance(raw, Mapping):
        raise Misconfigured(f"the configuration must be an object, not {json.dumps(raw, default=str)}")
    problems: list[str] = []
    values = read_table(
        _OPTIONS, {name: value for name, value in raw.items() if name != RULES}, "", problems, also=[RULES]
    )
    rules = _rules(raw.get(RULES, []), problems)
    if not problems:
        problems = _conflicts(values, rules)
    if problems:
        raise Misconfigured("evictor configuration: " + "; ".join(problems))
    if values["budget_bytes"] is None:
        values["budget_bytes"] = int(values["claim_bytes"] * BUDGET_SHARE)
    if values["free_floor_bytes"] is None:
        values["free_floor_bytes"] = int(values["budget_bytes"] * FLOOR_SHARE)
    if values["journal_bytes"] is None:
        values["journal_bytes"] = min(32 << 20, max(1 << 16, values["budget_bytes"] // 200))
    if values["probe_dir"] is None:
        values["probe_dir"] = os.path.join(os.path.dirname(values["root_dir"].rstrip("/")), ".probe")
    return Config(**values, namespaces=rules)


def _rules(raw: Any, problems: list[str]) -> tuple[NamespaceRule, ...]:
    if not isinstance(raw, list) or not all(isinstance(one, Mapping) for one in raw):
        problems.append(f"{RULES} must be a list of objects")
        return ()
    before = len(problems)
    tables = [read_table(_RULE_OPTIONS, one, f"{RULES}[{index}].", problems) for index, one in enumerate(raw)]
    return () if len(problems) > before else tuple(NamespaceRule(**table) for table in tables)


def _conflicts(values: Mapping[str, Any], rules: tuple[NamespaceRule, ...]) -> list[str]:
    problems = []
    if not os.path.isabs(values["root_dir"]):
        problems.append(f"root_dir must be an absolute path, not {values['root_dir']!r}")
    if values["claim_bytes"] is None and values["budget_bytes"] is None:
        problems.append("set claim_bytes (the size of the claim) or budget_bytes (what the cache may hold)")
    elif None not in (values["claim_bytes"], values["budget_bytes"]) and values["budget_bytes"] > values["claim_bytes"]:
        problems.append("budget_bytes must not be more than claim_bytes")
    if values["low_watermark"] >= values["high_watermark"]:
        problems.append("low_watermark must be less than high_watermark")
    for index, rule in enumerate(rules):
        if rule.quota_bytes is not None and rule.minimum_bytes > rule.quota_bytes:
            problems.append(f"{RULES}[{index}].minimum_bytes must not be more than its quota_bytes")
        if rule.pinned and (rule.quota_bytes is not None or rule.ttl_s):
            problems.append(f"{RULES}[{index}] is pinned, so it can have neither quota_bytes nor ttl_s")
    return problems


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
        "description": "Generated by `python -m llmd_storage_evictor.config`; do not edit.",
        "type": "object",
        "additionalProperties": False,
        "required": [name for name, option in _OPTIONS.items() if option.default is REQUIRED],
        "anyOf": [{"required": ["claim_bytes"]}, {"required": ["budget_bytes"]}],
        "properties": {name: option.schema() for name, option in _OPTIONS.items()} | {RULES: rules},
    }


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=2))

# SPDX-License-Identifier: Apache-2.0
"""The configuration: one dataclass, for the decoder and the JSON Schema.

`python -m llmd_storage_evictor.config` prints schemas/evictor-config.schema.json.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Annotated, Any

from llmd_storage_core import settings
from llmd_storage_core.settings import Bytes, Seconds, Setting
from llmd_storage_evictor.errors import Misconfigured
from llmd_storage_evictor.layouts import LAYOUTS

SCHEMA_ID = "urn:llm-d-storage:schema:evictor-config:1"
BUDGET_SHARE = 0.9
FLOOR_SHARE = 0.02
LEAST_FREE_FILES = 256
_DAY_S = 86400.0


@dataclass(frozen=True, slots=True)
class NamespaceRule:
    """One rule for namespaces. None: unset."""

    namespace: Annotated[str | None, Setting("Beginning of the namespace's folder name. Unset: any.")] = None
    model: Annotated[
        str | None,
        Setting("Hub repository of the model (* matches any text), weights_id, or its weights' digest. Unset: any."),
    ] = None
    quota_bytes: Annotated[Bytes | None, Setting("Bytes that each matching namespace may hold.", minimum=1)] = None
    minimum_bytes: Annotated[
        Bytes, Setting("Bytes of each matching namespace that budget and free-space floor do not touch.", minimum=0)
    ] = 0
    pinned: Annotated[bool, Setting("Never remove anything from matching namespaces.")] = False
    ttl_s: Annotated[Seconds | None, Setting("Overrides the general ttl_s.", minimum=0)] = None


@dataclass(frozen=True, slots=True)
class Config:
    """The settings, checked, defaults filled in. What follows from several of them is a property effective_…."""

    root_dir: Annotated[str, Setting("Absolute path of the cache directory: the connector's root_dir.")]
    layout: Annotated[
        str,
        Setting(
            "Whose blocks root_dir holds. Of another connector's, only files with exactly its names are removed.",
            choices=("llmd-storage", *sorted(LAYOUTS)),
        ),
    ] = "llmd-storage"
    claim_bytes: Annotated[
        Bytes | None,
        Setting(f"Size of the claim. Unless budget_bytes is set, the budget is {BUDGET_SHARE:.0%} of it.", minimum=1),
    ] = None
    budget_bytes: Annotated[
        Bytes | None, Setting("Bytes the cache may hold. One of claim_bytes and this must be set.", minimum=1)
    ] = None
    high_watermark: Annotated[
        float, Setting("Share of the budget (or of a quota) at which removal begins.", minimum=0.01, maximum=1)
    ] = 0.95
    low_watermark: Annotated[
        float, Setting("Share of the budget (or of a quota) at which removal ends.", minimum=0.01, maximum=1)
    ] = 0.9
    free_floor_bytes: Annotated[
        Bytes | None,
        Setting(
            "Bytes to keep free on the filesystem, whoever fills it; the cache shrinks for that. "
            f"Unset: {FLOOR_SHARE:.0%} of the budget. 0: free space is not checked.",
            minimum=0,
        ),
    ] = None
    free_floor_files: Annotated[
        int | None,
        Setting(
            "Files (inodes) to keep free on the filesystem, whoever fills it; the cache shrinks for that. "
            f"Unset: {FLOOR_SHARE:.0%} of the cache's files, at least {LEAST_FREE_FILES}. 0: not checked.",
            minimum=0,
        ),
    ] = None
    ttl_s: Annotated[
        Seconds, Setting("Seconds after its last use at which a block is removed in any case. 0: never.", minimum=0)
    ] = 0.0
    pin_younger_s: Annotated[
        Seconds, Setting("Blocks used within this many seconds are never removed, even over budget.", minimum=0)
    ] = 0.0
    touch_after_s: Annotated[
        Seconds,
        Setting(
            "How old a block's mtime may get, in seconds, before connectors refresh it; published in "
            ".evictor/advice.json. 0: derived from the age of the oldest blocks.",
            minimum=0,
        ),
    ] = 0.0
    namespace_unused_s: Annotated[
        Seconds, Setting("Seconds without use after which a whole namespace is removed. 0: never.", minimum=0)
    ] = 30 * _DAY_S
    grace_s: Annotated[
        Seconds,
        Setting(
            "Seconds between saying what new limits (budget, quotas, times to live) will remove, and removing it.",
            minimum=0,
        ),
    ] = 300.0
    allow_large_removal: Annotated[
        bool, Setting("Whether new limits may remove more than half of what the cache holds.")
    ] = False
    damaged_keep_s: Annotated[
        Seconds,
        Setting("Seconds that damaged blocks are kept for inspection. Over budget they are removed first.", minimum=0),
    ] = 7 * _DAY_S
    scratch_keep_s: Annotated[
        Seconds, Setting("Seconds after which an unfinished file is considered abandoned and removed.", minimum=60)
    ] = 600.0
    probe_dir: Annotated[
        str | None,
        Setting('Where the probe creates its scratch folders. Unset: .probe beside root_dir. "": not cleaned up.'),
    ] = None
    probe_keep_s: Annotated[
        Seconds,
        Setting("Seconds after which a probe's scratch folder is considered abandoned and removed.", minimum=3600),
    ] = _DAY_S
    poll_s: Annotated[Seconds, Setting("Longest time between two scans, in seconds.", minimum=0.1)] = 10.0
    burst_bytes_s: Annotated[
        Bytes,
        Setting(
            "Bytes a second that all engines together may start to write at any time. The less room is left, the "
            "more often the cache is scanned, within 3 % of a core.",
            minimum=1,
        ),
    ] = 2**30
    metadata_ops_s: Annotated[
        float,
        Setting(
            "Operations a second that looking for changes may cost the filesystem's metadata server: a stat, an open, "
            "or 100 names of a listing. Removing blocks and the first look at an unknown cache are not counted.",
            minimum=50,
        ),
    ] = 500.0
    relist_s: Annotated[
        Seconds,
        Setting(
            "Seconds after which a folder is listed even if its mtime has not changed; more where a tenth of "
            "metadata_ops_s is too little for that.",
            minimum=1,
        ),
    ] = 60.0
    rescan_s: Annotated[
        Seconds,
        Setting(
            "Seconds in which every file's size and mtime are read again; more where a fifth of metadata_ops_s is too "
            "little for that.",
            minimum=60,
        ),
    ] = 3600.0
    checkpoint_s: Annotated[Seconds, Setting("Seconds between two checkpoints.", minimum=1)] = 300.0
    io_threads: Annotated[int, Setting("Threads that list and remove files.", minimum=1, maximum=128)] = 8
    stall_s: Annotated[Seconds, Setting("Seconds without progress after which /healthz fails.", minimum=5)] = 60.0
    journal_bytes: Annotated[
        Bytes | None,
        Setting(
            "Size limit of the journal of removals; the oldest part is dropped. Unset: 1/200 of the budget, "
            "between 64Ki and 32Mi.",
            minimum=1 << 16,
        ),
    ] = None
    http_port: Annotated[int, Setting("Port of /metrics and /healthz. 0: none.", minimum=0, maximum=65535)] = 9464
    leader_election: Annotated[
        bool, Setting("Elect the leader by a Kubernetes Lease. The file lease on the storage is used in any case.")
    ] = True
    lease_name: Annotated[str, Setting("Name of the Lease.")] = "llm-d-storage-evictor"
    lease_namespace: Annotated[str | None, Setting("Namespace of the Lease. Unset: the pod's own.")] = None
    lease_owner: Annotated[
        str | None,
        Setting("ConfigMap that owns the Lease: Kubernetes deletes the Lease with it. Unset: the Lease stays."),
    ] = None
    dry_run: Annotated[bool, Setting("Log what would be removed, and write nothing.")] = False
    namespaces: Annotated[tuple[NamespaceRule, ...], Setting("Rules for namespaces; the first match applies.")] = ()

    @property
    def effective_budget_bytes(self) -> int:
        """Bytes the cache may hold."""
        if self.budget_bytes is not None:
            return self.budget_bytes
        assert self.claim_bytes is not None, "one of the two is set, or it was refused"
        return int(self.claim_bytes * BUDGET_SHARE)

    @property
    def effective_free_floor_bytes(self) -> int:
        """Bytes to keep free on the filesystem; 0: free space is not checked."""
        if self.free_floor_bytes is not None:
            return self.free_floor_bytes
        return int(self.effective_budget_bytes * FLOOR_SHARE)

    def effective_free_floor_files(self, held_files: int) -> int:
        """Files to keep free on the filesystem, of a cache of this many; 0: free files are not checked."""
        if self.free_floor_files is not None:
            return self.free_floor_files
        return max(LEAST_FREE_FILES, int(held_files * FLOOR_SHARE))

    @property
    def effective_journal_bytes(self) -> int:
        """Size limit of the journal."""
        if self.journal_bytes is not None:
            return self.journal_bytes
        return min(32 << 20, max(1 << 16, self.effective_budget_bytes // 200))

    @property
    def effective_probe_dir(self) -> str:
        """Where the probe makes its scratch folders; "": not cleaned up."""
        if self.probe_dir is not None:
            return self.probe_dir
        return os.path.join(os.path.dirname(self.root_dir.rstrip("/")), ".probe")


def parse(raw: Any) -> Config:
    """Raises: Misconfigured, with one sentence for each problem."""
    try:
        config = settings.decode(Config, raw)
    except settings.Invalid as error:
        raise Misconfigured(f"evictor configuration: {error}") from error
    if problems := _conflicts(config):
        raise Misconfigured("evictor configuration: " + "; ".join(problems))
    return config


def _conflicts(config: Config) -> list[str]:
    problems = []
    if not os.path.isabs(config.root_dir):
        problems.append(f"root_dir must be an absolute path, not {config.root_dir!r}")
    if config.claim_bytes is None and config.budget_bytes is None:
        problems.append("set claim_bytes (the size of the claim) or budget_bytes (what the cache may hold)")
    elif config.claim_bytes is not None and (config.budget_bytes or 0) > config.claim_bytes:
        problems.append("budget_bytes must not be more than claim_bytes")
    if config.low_watermark >= config.high_watermark:
        problems.append("low_watermark must be less than high_watermark")
    for index, rule in enumerate(config.namespaces):
        if rule.quota_bytes is not None and rule.minimum_bytes > rule.quota_bytes:
            problems.append(f"namespaces[{index}].minimum_bytes must not be more than its quota_bytes")
        if rule.pinned and (rule.quota_bytes is not None or rule.ttl_s):
            problems.append(f"namespaces[{index}] is pinned, so it can have neither quota_bytes nor ttl_s")
    return problems


def json_schema() -> dict[str, Any]:
    """The same as JSON Schema 2020-12."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "Configuration of the evictor",
        "description": "Generated by `python -m llmd_storage_evictor.config`; do not edit.",
        "anyOf": [{"required": ["claim_bytes"]}, {"required": ["budget_bytes"]}],
    } | settings.json_schema(Config)


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=2))

# SPDX-License-Identifier: Apache-2.0
"""What an operator may set in `kv_connector_extra_config`: one dataclass, for the decoder and the JSON Schema.

`python -m llmd_storage_connector.config` prints schemas/connector-config.schema.json.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any

from llmd_storage_connector.errors import Misconfigured
from llmd_storage_core import settings, strategies
from llmd_storage_core.settings import Setting

SCHEMA_ID = "urn:llm-d-storage:schema:connector-config:1"
# The longest that a request waits for answers about its blocks, and when storage counts as not answering.
LOOKUP_DEADLINE_S = 2.0


@dataclass(frozen=True, slots=True)
class Config:
    """The settings, checked, defaults filled in."""

    root_dir: Annotated[
        str, Setting("Absolute path of a directory on the shared filesystem; namespaces are made in it.")
    ]
    cpu_bytes_to_use: Annotated[
        int,
        Setting(
            "Bytes of the CPU tier in /dev/shm, all ranks together. It bounds the longest prefix that can be "
            "loaded from storage; the pod's /dev/shm must be at least as large.",
            minimum=1,
        ),
    ]
    block_size: Annotated[
        int | None,
        Setting("Tokens per block file, a multiple of vLLM's block size. Unset: one vLLM block.", minimum=1),
    ] = None
    io_threads: Annotated[
        int,
        Setting(
            "Threads that read and write blocks; each holds one buffer of 2 MiB, or of a smaller block.", minimum=1
        ),
    ] = 32
    lookup_threads: Annotated[int, Setting("Threads that ask whether blocks are there.", minimum=1)] = 64
    lookup_deadline_s: Annotated[
        float | None,
        Setting(
            "Seconds a request waits, in all, to learn which of its blocks are there; later answers are misses. Unset: "
            f"a twelfth of what computing them would take, as far as that is known, and at most {LOOKUP_DEADLINE_S:g}.",
            minimum=0.001,
        ),
    ] = None
    load_deadline_s: Annotated[
        float,
        Setting(
            "Seconds one request's load may take from its submission; what is not there by then is recomputed. With "
            "skip_slow_loads a load ends before, as soon as computing would be quicker.",
            minimum=0.001,
        ),
    ] = 20.0
    store_deadline_s: Annotated[
        float,
        Setting(
            "Seconds one store may take from its submission; it then counts as failed and frees its CPU memory.",
            minimum=0.001,
        ),
    ] = 60.0
    store_queue_bytes: Annotated[
        int | None,
        Setting(
            "Bytes waiting to be stored beyond which new blocks are dropped. Unset: half of cpu_bytes_to_use.",
            minimum=0,
        ),
    ] = None
    skip_slow_loads: Annotated[
        bool,
        Setting(
            "Whether loads are left out, or cancelled, that take longer than computing; they are tried again later."
        ),
    ] = True
    direct_io: Annotated[
        str,
        Setting(
            "Whether blocks are read, and those of 1 MiB or more written, past the page cache; auto does so where the "
            "filesystem can.",
            choices=("auto", "on", "off"),
        ),
    ] = "auto"
    publish: Annotated[
        str,
        Setting(
            "How a finished block gets its name; auto chooses by the filesystem and by measuring at start.",
            choices=(strategies.AUTO, *strategies.STRATEGIES),
        ),
    ] = strategies.AUTO
    adapters_by_name: Annotated[
        bool,
        Setting(
            "Whether requests for LoRA adapters use the cache. vLLM names their blocks by the adapter's name and path: "
            "set it only if these stand for the same weights on every pod and for ever, such as a path with a version."
        ),
    ] = False
    media_by_id: Annotated[
        bool,
        Setting(
            "Whether requests with images, audio or video use the cache. A client can give them ids in place of a "
            "hash: set it only if none does, or equal ids are equal content."
        ),
    ] = False
    weights_id: Annotated[
        str | None,
        Setting(
            "A name of the weights, of the draft model's too, in place of reading them: for weights that are no local "
            "files (object storage, tensorizer). It must change whenever they do: whoever gives one name to two makes "
            "wrong answers. Unset: every byte of the files is read."
        ),
    ] = None
    fail_fast: Annotated[
        bool,
        Setting("Whether an unusable root_dir stops the engine instead of letting it serve without storage."),
    ] = False
    eviction_policy: Annotated[str, Setting("vLLM's policy for its CPU tier.", choices=("lru", "arc"))] = "lru"
    offload_prompt_only: Annotated[bool, Setting("Whether only prompt blocks are stored (vLLM's default).")] = True
    canonical_layout: Annotated[
        bool, Setting("vLLM's topology-free block layout, which lets different TP sizes share; GPU only.")
    ] = False
    self_describing_kv_events: Annotated[
        bool, Setting("Whether vLLM's own tiers tell tokens and parents in their KV events, as some routers want.")
    ] = False
    secondary_tiers: Annotated[
        tuple[dict[str, Any], ...],
        Setting("Further tiers of vLLM's, as it takes them; asked after this one, and stored to as well."),
    ] = ()
    backpressure: Annotated[
        dict[str, Any] | None, Setting("vLLM's backpressure of stores to tiers, as it takes it. Unset: none.")
    ] = None

    @property
    def effective_lookup_deadline_s(self) -> float:
        """The longest a request waits for answers about its blocks."""
        return LOOKUP_DEADLINE_S if self.lookup_deadline_s is None else self.lookup_deadline_s

    @property
    def has_adaptive_lookups(self) -> bool:
        """Whether a request may wait less than the longest, by what computing would take."""
        return self.lookup_deadline_s is None

    @property
    def effective_store_queue_bytes(self) -> int:
        """Bytes that may wait to be stored."""
        return self.cpu_bytes_to_use // 2 if self.store_queue_bytes is None else self.store_queue_bytes

    @property
    def vllm_options(self) -> dict[str, Any]:
        """What is handed to vLLM's own spec, under the same names: all that is not vLLM's default."""
        defaults = {field.name: field.default for field in fields(self)}
        return {name: getattr(self, name) for name in VLLM_OPTIONS if getattr(self, name) != defaults[name]}


VLLM_OPTIONS = (
    "cpu_bytes_to_use",
    "block_size",
    "eviction_policy",
    "offload_prompt_only",
    "canonical_layout",
    "self_describing_kv_events",
    "backpressure",
)


def parse(raw: Mapping[str, Any]) -> Config:
    """Raises: Misconfigured naming every problem, one sentence each."""
    try:
        config = settings.decode(Config, dict(raw))
    except settings.Invalid as error:
        raise Misconfigured(f"kv_connector_extra_config: {error}") from error
    if not os.path.isabs(config.root_dir):
        raise Misconfigured(f"kv_connector_extra_config: root_dir must be an absolute path, not {config.root_dir!r}")
    if config.weights_id is not None and not config.weights_id.strip():
        raise Misconfigured("kv_connector_extra_config: weights_id is empty: give the weights a name, or leave it out")
    return config


def check_topology(world_size: int, nodes: int, devices_here: int | None) -> None:
    """The CPU tier is one node's memory. Raises: Misconfigured when ranks of an engine are elsewhere."""
    if nodes > 1 or (devices_here is not None and world_size > devices_here):
        raise Misconfigured(
            f"one engine spans several nodes (world size {world_size}, {nodes} node(s)), but the connector's "
            "CPU tier is memory of one node: keep tensor and pipeline parallelism within a node, or serve "
            "without the connector"
        )


def json_schema() -> dict[str, Any]:
    """The same as JSON Schema 2020-12."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "kv_connector_extra_config of LlmdStorageConnector",
        "description": "Made by `python -m llmd_storage_connector.config`; do not edit.",
    } | settings.json_schema(Config)


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=2))

# SPDX-License-Identifier: Apache-2.0
"""What an operator may set in `kv_connector_extra_config`: one table, for the parser and the JSON Schema.

`python -m llmd_storage_connector.config` prints schemas/connector-config.schema.json.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llmd_storage_connector.blocks.publish import AUTO, STRATEGIES
from llmd_storage_connector.errors import Misconfigured

SCHEMA_ID = "urn:llm-d-storage:schema:connector-config:1"
REQUIRED: Any = object()
# The longest that a request waits for answers about its blocks, and when storage counts as not answering.
LOOKUP_DEADLINE_S = 2.0


@dataclass(frozen=True, slots=True)
class Option:
    """One setting. minimum is inclusive; choices, when given, are all that is allowed."""

    kind: type
    default: Any
    doc: str
    minimum: float | None = None
    choices: tuple[str, ...] = ()

    def fault(self, value: Any) -> str | None:
        """What is wrong with the value, as the end of a sentence, or None."""
        wanted = {str: "a string", int: "a whole number", float: "a number", bool: "true or false"}[self.kind]
        numeric = isinstance(value, int | float) and not isinstance(value, bool)
        fits = {
            str: isinstance(value, str),
            bool: isinstance(value, bool),
            int: numeric and float(value).is_integer(),
            float: numeric,
        }[self.kind]
        if not fits:
            return f"must be {wanted}, not {json.dumps(value, default=str)}"
        if self.choices and value not in self.choices:
            return f"must be one of {', '.join(self.choices)}, not {value!r}"
        if self.minimum is not None and not float(value) >= self.minimum:
            return f"must be at least {self.minimum:g}, not {value}"
        return None

    def schema(self) -> dict[str, Any]:
        """This option in JSON Schema."""
        names = {str: "string", int: "integer", float: "number", bool: "boolean"}
        result: dict[str, Any] = {"type": names[self.kind], "description": self.doc}
        if self.choices:
            result["enum"] = list(self.choices)
        if self.minimum is not None:
            result["minimum"] = self.minimum
        if self.default is not REQUIRED and self.default is not None:
            result["default"] = self.default
        return result


_OPTIONS: dict[str, Option] = {
    "root_dir": Option(
        str, REQUIRED, "Absolute path of a directory on the shared filesystem; namespaces are made in it."
    ),
    "cpu_bytes_to_use": Option(
        int,
        REQUIRED,
        "Bytes of the CPU tier in /dev/shm, all ranks together. It bounds the longest prefix that can be "
        "loaded from storage; the pod's /dev/shm must be at least as large.",
        minimum=1,
    ),
    "block_size": Option(
        int, None, "Tokens per block file, a multiple of vLLM's block size. Unset: one vLLM block.", minimum=1
    ),
    "io_threads": Option(
        int, 32, "Threads that read and write blocks; each holds one buffer of 2 MiB, or of a smaller block.", minimum=1
    ),
    "lookup_threads": Option(int, 64, "Threads that ask whether blocks are there.", minimum=1),
    "lookup_deadline_s": Option(
        float,
        None,
        "Seconds a request waits, in all, to learn which of its blocks are there; later answers are misses. Unset: "
        f"a twelfth of what computing them would take, as far as that is known, and at most {LOOKUP_DEADLINE_S:g}.",
        minimum=0.001,
    ),
    "load_deadline_s": Option(
        float,
        20.0,
        "Seconds one request's load may take from its submission; what is not there by then is recomputed. With "
        "skip_slow_loads a load ends before, as soon as computing would be quicker.",
        minimum=0.001,
    ),
    "store_deadline_s": Option(
        float,
        60.0,
        "Seconds one store may take from its submission; it then counts as failed and frees its CPU memory.",
        minimum=0.001,
    ),
    "store_queue_bytes": Option(
        int,
        None,
        "Bytes waiting to be stored beyond which new blocks are dropped. Unset: half of cpu_bytes_to_use.",
        minimum=0,
    ),
    "skip_slow_loads": Option(
        bool,
        True,
        "Whether loads are left out, or cancelled, that take longer than computing; they are tried again later.",
    ),
    "direct_io": Option(
        str,
        "auto",
        "Whether blocks are read past the page cache; auto does so where the filesystem can.",
        choices=("auto", "on", "off"),
    ),
    "publish": Option(
        str,
        AUTO,
        "How a finished block gets its name; auto chooses by the filesystem and by measuring at start.",
        choices=(AUTO, *STRATEGIES),
    ),
    "fail_fast": Option(
        bool,
        False,
        "Whether an unusable root_dir stops the engine instead of letting it serve without storage.",
    ),
    "eviction_policy": Option(str, "lru", "vLLM's policy for its CPU tier.", choices=("lru", "arc")),
    "offload_prompt_only": Option(bool, True, "Whether only prompt blocks are stored (vLLM's default)."),
    "canonical_layout": Option(
        bool, False, "vLLM's topology-free block layout, which lets different TP sizes share; GPU only."
    ),
}
# Handed to vLLM's own spec under the same name; the rest is the tier's.
VLLM_OPTIONS = (
    "cpu_bytes_to_use",
    "block_size",
    "eviction_policy",
    "offload_prompt_only",
    "canonical_layout",
)


@dataclass(frozen=True, slots=True)
class Config:
    """The settings, checked, defaults filled in. Fields are those of the table, and what follows from them.

    lookup_deadline_derived: nobody set lookup_deadline_s, so that it is the longest a request waits, not how long.
    """

    root_dir: str
    cpu_bytes_to_use: int
    block_size: int | None
    io_threads: int
    lookup_threads: int
    lookup_deadline_s: float
    load_deadline_s: float
    store_deadline_s: float
    store_queue_bytes: int
    skip_slow_loads: bool
    direct_io: str
    publish: str
    fail_fast: bool
    eviction_policy: str
    offload_prompt_only: bool
    canonical_layout: bool
    lookup_deadline_derived: bool = False
    vllm_options: dict[str, Any] = field(default_factory=dict)


def parse(raw: Mapping[str, Any]) -> Config:
    """Raises: Misconfigured naming every fault, one sentence each."""
    faults = [f"unknown key {name!r}{_nearest(name)}" for name in sorted(set(raw) - set(_OPTIONS))]
    values: dict[str, Any] = {}
    for name, option in _OPTIONS.items():
        value = raw.get(name, option.default)
        if value is REQUIRED:
            faults.append(f"{name} is missing: {option.doc}")
        elif value is not None or name in raw:
            fault = option.fault(value)
            if fault:
                faults.append(f"{name} {fault}")
        values[name] = value
    if not faults and not os.path.isabs(values["root_dir"]):
        faults.append(f"root_dir must be an absolute path, not {values['root_dir']!r}")
    if faults:
        raise Misconfigured("kv_connector_extra_config: " + "; ".join(faults))
    if values["store_queue_bytes"] is None:
        values["store_queue_bytes"] = int(values["cpu_bytes_to_use"]) // 2
    derived = values["lookup_deadline_s"] is None
    if derived:
        values["lookup_deadline_s"] = LOOKUP_DEADLINE_S
    for name, option in _OPTIONS.items():
        if values[name] is not None:
            values[name] = option.kind(values[name])
    passed = {name: values[name] for name in VLLM_OPTIONS if name in raw or name == "cpu_bytes_to_use"}
    return Config(**values, lookup_deadline_derived=derived, vllm_options=passed)


def check_topology(world_size: int, nodes: int, devices_here: int | None) -> None:
    """The CPU tier is one node's memory. Raises: Misconfigured when ranks of an engine are elsewhere."""
    if nodes > 1 or (devices_here is not None and world_size > devices_here):
        raise Misconfigured(
            f"one engine spans several nodes (world size {world_size}, {nodes} node(s)), but the connector's "
            "CPU tier is memory of one node: keep tensor and pipeline parallelism within a node, or serve "
            "without the connector"
        )


def _nearest(name: str) -> str:
    import difflib

    close = difflib.get_close_matches(name, _OPTIONS, n=1)
    return f" (did you mean {close[0]!r}?)" if close else f" (known: {', '.join(_OPTIONS)})"


def json_schema() -> dict[str, Any]:
    """The same table as JSON Schema 2020-12."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "kv_connector_extra_config of LlmdStorageConnector",
        "description": "Made by `python -m llmd_storage_connector.config`; do not edit.",
        "type": "object",
        "additionalProperties": False,
        "required": [name for name, option in _OPTIONS.items() if option.default is REQUIRED],
        "properties": {name: option.schema() for name, option in _OPTIONS.items()},
    }


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=2))

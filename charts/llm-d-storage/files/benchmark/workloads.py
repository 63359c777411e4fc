# SPDX-License-Identifier: Apache-2.0
"""What the benchmark sends: prompts of shared prefixes, or a trace as it came."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import traces


@dataclass(frozen=True)
class Workload:
    """What a stage sends: how many prompts, in words, and the generator's flags for them."""

    prompts: int
    words: str
    flags: dict[str, Any]
    # (name, requests a second); none where the prompts say when they come.
    stages: list[tuple[str, float | None]]
    # Of a trace, for the report.
    facts: dict[str, Any] = field(default_factory=dict)


def prefixes(config: dict[str, Any]) -> Workload:
    flags = {
        "--dataset-name": "prefix_repetition",
        "--prefix-repetition-num-prefixes": config["prefixes"],
        "--prefix-repetition-prefix-len": config["prefixTokens"],
        "--prefix-repetition-suffix-len": config["suffixTokens"],
        "--prefix-repetition-output-len": config["outputTokens"],
    }
    stages = [("cold", config["rates"][0]), *((f"{rate:g}/s", rate) for rate in config["rates"])]
    words = f"{config['prefixes']} prefixes of {config['prefixTokens']} tokens"
    return Workload(config["prefixes"] * config["promptsPerPrefix"], words, flags, stages)


def replayed(config: dict[str, Any], limit: int | None, folder: Path) -> Workload:
    """limit: tokens that the model takes. Raises: SystemExit when the trace cannot be read."""
    given = dict(config["trace"])
    source = given.pop("source")
    # Of a URL not the query: it may be signed.
    name = Path(urlsplit(source).path).name
    try:
        lines, facts = traces.replay(traces.content(source), limit=limit, **given)
    except (OSError, ValueError) as error:
        sys.exit(f"the trace {name} cannot be replayed: {error}")
    path = folder / "trace.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    flags = {
        "--dataset-name": "timed_trace",
        "--dataset-path": path,
        "--timed-trace-chunk-hash-size": facts["blockTokens"],
    }
    words = (
        f"{facts['seconds']:.0f} s of {name}, sizes by {facts['scale']:g}, {facts['speed']:g} times as fast, "
        f"{facts['cut']} cut to {limit} tokens, {facts['leftOut']} left out"
    )
    return Workload(len(lines), words, flags, [("trace", None)], {"name": name, **facts})

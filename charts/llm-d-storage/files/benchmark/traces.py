# SPDX-License-Identifier: Apache-2.0
"""Public traces of requests: read, scaled, and written as what vLLM's generator replays (its dataset timed_trace).

A trace has no texts. It says when each request came, how long it was, and by the ids of its blocks which beginnings it
shares: equal ids were equal text. ``scale`` shortens prompts, answers and blocks alike, so that the share of what is
shared stays. Arrival times stay; ``speed`` is the one thing that changes them.

Only the standard library, as benchmark.py.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import itertools
import json
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

# What a tokenizer may put before a prompt.
SPECIAL_TOKENS = 8


@dataclass(frozen=True)
class Request:
    """One request of a trace: seconds on the trace's own clock, tokens, and the ids of the prompt's blocks."""

    at: float
    prompt: int
    answer: int
    blocks: tuple[int, ...]


@dataclass(frozen=True)
class Format:
    """How a trace is written. ``block``: tokens of one id."""

    block: int
    rows: Callable[[str, int], Iterator[Request]]


def _json_rows(seconds: float) -> Callable[[str, int], Iterator[Request]]:
    def rows(text: str, block: int) -> Iterator[Request]:
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                ids = tuple(int(i) for i in row["hash_ids"])
                one = Request(row["timestamp"] * seconds, int(row["input_length"]), int(row["output_length"]), ids)
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"line {number} is no request of such a trace ({error!r}): {line[:120]}") from error
            if len(ids) != blocks_of(one.prompt, block):
                wants = f"{one.prompt} tokens of {block} to a block"
                raise ValueError(f"line {number} has {len(ids)} hash_ids for {wants}; set benchmark.trace.format")
            yield one

    return rows


def _azure_rows(text: str, block: int) -> Iterator[Request]:
    """It does not say what is shared, so nothing is."""
    fresh = itertools.count()
    for number, row in enumerate(csv.DictReader(text.splitlines()), 2):
        try:
            at = datetime.fromisoformat(row["TIMESTAMP"]).timestamp()
            prompt, answer = int(row["ContextTokens"]), int(row["GeneratedTokens"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"line {number} is no request of such a trace ({error!r})") from error
        yield Request(at, prompt, answer, tuple(itertools.islice(fresh, blocks_of(prompt, block))))


FORMATS = {
    # github.com/kvcache-ai/Mooncake, FAST25-release: timestamps in ms.
    "mooncake": Format(512, _json_rows(0.001)),
    # github.com/alibaba-edu/qwen-bailian-usagetraces-anon: in seconds.
    "bailian": Format(16, _json_rows(1.0)),
    # github.com/Azure/AzurePublicDataset, AzureLLMInferenceTrace: dates, and no ids.
    "azure": Format(512, _azure_rows),
}


def blocks_of(tokens: int, block: int) -> int:
    return -(-tokens // block)


def content(source: str) -> bytes:
    """A file's bytes, or a URL's; unpacked where they are gzip. Raises: OSError."""
    if source.startswith(("http://", "https://")):
        with urllib.request.urlopen(source, timeout=60) as answer:  # noqa: S310
            raw = answer.read()
    else:
        raw = Path(source).read_bytes()
    return gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw


def replay(
    raw: bytes, *, format: str, scale: float, speed: float, seconds: float | None = None, limit: int | None = None
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """(the generator's lines, what the report says of the trace).

    seconds: of the trace, only its first ones. limit: tokens that the model takes, prompt and answer together; longer
    requests are cut, the answer to half of it at most and the prompt to the rest. Lines have ``timestamp`` in seconds
    from the first request. Raises: ValueError in words for the user.
    """
    shape = FORMATS[format]
    asked = sorted(shape.rows(raw.decode(), shape.block), key=lambda r: r.at)
    if not asked:
        raise ValueError("it has no request")
    begin = asked[0].at
    kept = [r for r in asked if r.prompt > 0 and (seconds is None or r.at - begin < seconds)]
    block = max(1, round(shape.block * scale))
    lines, cut = [], 0
    for r in kept:
        # Rounded up, so that a prompt has as many blocks as before.
        prompt, answer = blocks_of(r.prompt * block, shape.block), max(1, round(r.answer * block / shape.block))
        if limit is not None and prompt + answer > limit - SPECIAL_TOKENS:
            cut += 1
            answer = min(answer, limit // 2)
            prompt = min(prompt, limit - SPECIAL_TOKENS - answer)
        line = {"timestamp": (r.at - begin) / speed, "input_length": prompt, "output_length": answer}
        lines.append(line | {"hash_ids": r.blocks[: blocks_of(prompt, block)]})
    facts = {
        "sha256": hashlib.sha256(raw).hexdigest(),
        "format": format,
        "speed": speed,
        # As it came out: blocks are whole tokens.
        "scale": block / shape.block,
        "blockTokens": block,
        "requests": len(lines),
        "seconds": round(lines[-1]["timestamp"], 3) if lines else 0.0,
        "cut": cut,
        "cutTo": limit,
        "leftOut": len(asked) - len(kept),
        "promptTokens": sum(line["input_length"] for line in lines),
        "repeatedTokens": repeated(lines, block),
    }
    if not lines:
        raise ValueError("it has no request left; set benchmark.trace.seconds higher")
    return lines, facts


def repeated(lines: list[dict[str, Any]], block: int) -> int:
    """Tokens of prompts whose blocks an earlier request began with: what a cache without bounds could save."""
    seen: set[tuple[int, int]] = set()
    tokens = 0
    for line in lines:
        places = list(enumerate(line["hash_ids"]))
        known = next((place[0] for place in places if place not in seen), len(places))
        tokens += min(known * block, line["input_length"])
        seen.update(places)
    return tokens

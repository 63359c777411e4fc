# SPDX-License-Identifier: Apache-2.0
"""A trace of prompts, and what a cache of a given size makes of it: under the evictor's policy, and under ideal LRU.

The trace is like the published ones of chat services: shared beginnings of very unequal popularity (Zipf),
conversations that grow turn by turn and end, and prompts that come once. A block is found only if all before it are.

    python -m tests.unit.evictor.replay       prints the figures of docs/evictor.md
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from llmd_storage_evictor.config import Config, NamespaceRule, parse
from llmd_storage_evictor.core import policy
from llmd_storage_evictor.core.policy import NS, Entry, NamespaceUsage, eviction_order

NAMESPACE = "a" * 32
Chain = list[tuple[str, int]]


@dataclass(frozen=True)
class Request:
    at_s: float
    chain: Chain


def trace(seed: int, count: int, rate_s: float, documents: int = 400) -> list[Request]:
    """`count` requests, `rate_s` a second. Deterministic."""
    dice = random.Random(seed)
    weights = [1 / (place + 1) ** 0.9 for place in range(documents)]
    lengths = [dice.randint(8, 48) for _ in range(documents)]
    talks: list[tuple[Chain, int]] = []  # (blocks so far, turns left)
    now, requests = 0.0, []
    for number in range(count):
        now += dice.expovariate(rate_s)
        kind = dice.random()
        if kind < 0.45 and talks:
            place = min(len(talks) - 1, int(dice.expovariate(0.25)))  # those who wrote lately write again
            chain, turns = talks.pop(-1 - place)
        elif kind < 0.85:
            document = dice.choices(range(documents), weights)[0]
            chain, turns = [(f"d{document}", block) for block in range(lengths[document])], dice.randint(0, 6)
        else:
            chain, turns = [], 0
        chain = [*chain, *((f"r{number}", block) for block in range(dice.randint(1, 6)))]
        requests.append(Request(now, chain))
        if turns:
            talks.append((chain, turns - 1))
            del talks[:-200]
    return requests


def ideal(requests: list[Request], blocks: int) -> float:
    """Share of the blocks asked for that strict LRU finds with the whole budget, and perfect knowledge of every use."""
    held: OrderedDict[tuple[str, int], None] = OrderedDict()
    found = asked = 0
    for request in requests:
        asked += len(request.chain)
        found += _leading(request.chain, held)
        for key in reversed(request.chain):  # the beginning counts as used last, so ends go first
            held[key] = None
            held.move_to_end(key)
        while len(held) > blocks:
            held.popitem(last=False)
    return found / asked


def evictor(requests: list[Request], blocks: int, touch_s: float | None = None, second_sight: bool = False) -> float:
    """The same under the evictor. touch_s: how old a block's time must be to be refreshed; None: as it advises.

    second_sight: blocks are stored only when they are asked for a second time (within ten caches' worth of blocks).
    """
    settings = {"root_dir": "/cache", "budget_bytes": blocks, "free_floor_bytes": 0}
    config = parse(settings)
    held: dict[tuple[str, int], int] = {}  # mtime in ns
    seen: OrderedDict[tuple[str, int], None] = OrderedDict()
    advice = 3600.0
    found = asked = 0
    for request in requests:
        now = int(request.at_s * NS)
        asked += len(request.chain)
        found += _leading(request.chain, held)
        for depth, key in enumerate(request.chain):
            stored = held.get(key)
            if stored is None:
                if not second_sight or key in seen:
                    held[key] = now + depth * NS // 100  # stored front to back
            elif now - stored > (advice if touch_s is None else touch_s) * NS:
                held[key] = now
            seen[key] = None
            seen.move_to_end(key)
        while len(seen) > 10 * blocks:
            seen.popitem(last=False)
        if len(held) > blocks * config.high_watermark:
            advice = policy.touch_after_s(config, request.at_s - min(held.values()) / NS)
            for key in list(_evicted(config, held, now)):
                del held[key]
    return found / asked


def _leading(chain: Chain, held: OrderedDict[tuple[str, int], None] | dict[tuple[str, int], int]) -> int:
    return next((depth for depth, key in enumerate(chain) if key not in held), len(chain))


def _evicted(config: Config, held: dict[tuple[str, int], int], now_ns: int) -> Iterator[tuple[str, int]]:
    keys = list(held)
    entries = sorted(
        Entry(eviction_order(held[key]), NAMESPACE, "00", place, held[key], 1, False) for place, key in enumerate(keys)
    )
    usage = {NAMESPACE: NamespaceUsage(len(held), len(held), 0, min(held.values()), max(held.values()))}
    for task in policy.pending_tasks(config, {NAMESPACE: NamespaceRule()}, usage, policy.FreeRoom(), now_ns):
        for entry in policy.select(task, entries, usage, now_ns):
            yield keys[entry.id]


def main() -> None:
    print("requests/s  cache   ideal LRU  evictor  touch 1 h  second sight")
    for rate_s in (0.2, 2.0):
        requests = trace(seed=7, count=4000, rate_s=rate_s)
        for blocks in (1000, 2500, 5000):
            figures = (
                ideal(requests, blocks),
                evictor(requests, blocks),
                evictor(requests, blocks, touch_s=3600),
                evictor(requests, blocks, second_sight=True),
            )
            print(f"{rate_s:10}  {blocks:5}  " + "  ".join(f"{100 * one:9.1f}" for one in figures))


if __name__ == "__main__":
    main()

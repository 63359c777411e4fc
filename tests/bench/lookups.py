"""How long a request waits to learn which blocks of its prefix are there."""

from __future__ import annotations

import random
import time
from functools import partial

from llmd_storage_connector.blocks.result import BlockResult
from llmd_storage_connector.lookup.cache import LookupCache
from llmd_storage_connector.lookup.pool import LookupPool
from llmd_storage_connector.lookup.service import LookupService
from llmd_storage_connector.telemetry.metrics import Counters
from tests.bench.bench import Bench
from tests.bench.places import Place, forget_names, settle
from tests.bench.rows import OURS, Goal, Row

KIB = 1 << 10
KEYS = 10_000
SAMPLE = 500
PRESENT = 5_000


WAITING, WAITING_KEYS = 40, 6_250  # prompts of 100 000 tokens in blocks of 16
STEPS = 200


def run(bench: Bench) -> None:
    _step(bench)
    with bench.slow() as slow:
        _look_up(bench, slow)


class _Hanging:
    """Storage, its health, and a cost model, none of which ever answers."""

    def contains(self, key: bytes) -> BlockResult:
        raise NotImplementedError  # no thread is started

    def missed(self, operation: str) -> None: ...
    def failed(self, operation: str, reason: str) -> None: ...
    def answered(self, operation: str) -> None: ...
    def skips_storage(self, now: float) -> bool:
        return False

    def lookup_timeout_s(self, blocks: int, longest_s: float) -> float:
        return longest_s


def _step(bench: Bench) -> None:
    """What waiting requests cost the scheduler in each of its steps."""
    case = f"a step of the scheduler while {WAITING} prompts of {WAITING_KEYS} blocks wait for answers"
    bench.say(case)
    none, cache, clock = _Hanging(), LookupCache(), time.monotonic
    pool = LookupPool(none, cache, none, deadline_s=3600, threads=64, needs_full_prefix=True, clock=clock)
    service = LookupService(pool, cache, none, none, Counters(), deadline_s=3600, adaptive=False, clock=clock)
    prompts = [[random.randbytes(32) + bytes(4) for _ in range(WAITING_KEYS)] for _ in range(WAITING)]
    began = time.perf_counter()
    for number, keys in enumerate(prompts):
        for key in keys:
            service.lookup(str(number), key)
    service.flush()
    first_s, steps = time.perf_counter() - began, []
    for _ in range(STEPS):
        began = time.perf_counter()
        if not all([service.is_waiting(str(number)) for number in range(WAITING)]):
            raise RuntimeError("a request does not wait")
        steps.append(time.perf_counter() - began)
    note = f"looking all of them up, once, took {first_s:.2f} s"
    bench.add(Row(case, "s", steps, (), (), Goal(OURS, 0.005, at_least=False), note, "", "lookups"))


def _look_up(bench: Bench, place: Place) -> None:
    case = f"{KEYS} cold lookups of one prefix, {place.name}"
    seed = random.getrandbits(60)
    roots = {side: place.folder(f"lookup-{side}") for side in ("ours", "stock")}
    for side, root in roots.items():  # stored behind the delay, which only lookups are to meet
        bench.say(f"{case}: {side} stores {PRESENT} blocks")
        bench.side(side).open(root.behind, PRESENT, 4 * KIB)
        bench.side(side).move("store", seed, jobs=16)
    settle()
    sample = SAMPLE if bench.quick else KEYS

    def ask(side: str, do: str, count: int, seed: int) -> dict[str, float]:
        bench.side(side).open(roots[side].seen, PRESENT, 4 * KIB)  # a new engine knows nothing
        return bench.side(side).ask(do, seed=seed, count=count)

    repeats = bench.times(5)
    taken = bench.alternate(case, repeats, {"ours": partial(ask, "ours", "look_up", KEYS, seed)})
    for one in taken["ours"]:
        if one["found"] != PRESENT:
            raise RuntimeError(f"{one['found']} blocks were found, {PRESENT} are there")
    absent = bench.alternate(
        f"{case}, none there", repeats, {"ours": lambda: ask("ours", "look_up", KEYS, random.getrandbits(60))}
    )
    apart = bench.alternate(
        f"{KEYS} requests of one block, {place.name}",
        repeats,
        {"ours": lambda: ask("ours", "look_up_apart", KEYS, random.getrandbits(60))},
    )
    stock = bench.alternate(f"{case}, stock", 1, {"stock": partial(ask, "stock", "look_up", sample, seed)})["stock"]
    whole = [one["seconds"] * KEYS / sample for one in stock]
    note = f"{PRESENT} of {KEYS} blocks are there; " + (
        f"stock: {sample} keys, scaled to {KEYS}" if sample < KEYS else "stock: all keys, once"
    )
    goal = Goal(OURS, 0.5, at_least=False)
    seconds = [one["seconds"] for one in taken["ours"]]
    bench.add(Row(case, "s", seconds, whole, (), goal, note, "", "lookups"))
    bench.add(Row(f"{case}, none there", "s", [x["seconds"] for x in absent["ours"]], (), (), goal, "", "", "lookups"))
    bench.add(
        Row(
            f"{KEYS} requests of one block each, all at once, {place.name}",
            "s",
            [x["seconds"] for x in apart["ours"]],
            whole,
            note="for information: requests of one prefix each",
            group="lookups",
        )
    )
    warm = [one["warm_us"] for one in taken["ours"]]
    goal = Goal(OURS, 100, at_least=False)
    bench.add(
        Row(
            "warm lookup of one block",
            "µs",
            warm,
            [one["warm_us"] for one in stock],
            goal=goal,
            note="a new request asks for blocks that another one found; stock asks storage again for each request",
            group="lookups",
        )
    )
    for side, root in roots.items():
        bench.side(side).ask("close")
        root.remove()


def newcomer(bench: Bench) -> None:
    """A new engine on a large cache: from its start to the answer to its first lookup."""
    from tests.bench.crowd import Crowd

    count = 50_000 if bench.quick else 1_000_000
    case = f"a new engine's first lookup, {count} blocks in the cache, {bench.local.name}"
    root = bench.local.folder("crowd")
    seed = random.getrandbits(60)
    side = bench.side("ours")
    side.open(root.seen, 64, 4 * KIB)
    side.move("store", seed)
    side.ask("close")
    crowd = Crowd(root.behind)
    bench.say(f"{case}: making the files")
    crowd.fill(count)

    def first() -> dict[str, float]:
        forget_names()
        opened = side.open(root.seen, 64, 4 * KIB)["opened_s"]
        looked = side.ask("look_up", seed=seed, count=64)
        if looked["found"] != 64:
            raise RuntimeError(f"{looked['found']} of 64 blocks were found")
        side.ask("close")
        return {"seconds": opened + looked["seconds"]}

    try:
        taken = bench.alternate(case, bench.times(5), {"ours": first})
    finally:
        bench.say(f"{case}: removing the files")
        crowd.remove()
    goal = Goal(OURS, 1.0, at_least=False)
    note = (
        "64 blocks of one prefix; from constructing the tier to the answer; all of the kernel's caches dropped before"
    )
    bench.add(Row(case, "s", [one["seconds"] for one in taken["ours"]], (), (), goal, note, "", "lookups"))

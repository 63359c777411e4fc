"""What moving blocks leaves to others: the processor to whoever copies, the interpreter to who schedules."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from tests.bench.bench import Bench, Measure
from tests.bench.places import LINK_MIB_S, Place, in_memory, set_cache, settle
from tests.bench.rows import LIMIT, OURS, Goal, Row

MIB = 1 << 20
TOTAL_MIB = 512
THREADS = 2
REQUESTS = 4


def memory_speed(bench: Bench) -> None:
    """Blocks that storage gives for nothing, beside what copying and hashing alone take."""
    case = f"load {TOTAL_MIB} MiB, 2 MiB blocks, from tmpfs, {THREADS} threads"
    with in_memory() as memory:
        root, seed = memory.folder("ours"), random.getrandbits(60)
        side = bench.side("ours")
        side.open(root.seen, TOTAL_MIB // 2, 2 * MIB, io_threads=THREADS)
        side.move("store", seed, jobs=16)

        def ours() -> float:
            return float(side.move("load", seed)["mib_s"])

        def copy(do_hash: bool) -> float:
            return float(side.ask("copy", threads=THREADS, do_hash=do_hash)["mib_s"])

        measures: dict[str, Measure] = {"ours": ours, "limit": partial(copy, True), "copy": partial(copy, False)}
        taken = bench.alternate(case, bench.times(15, 5), measures)
        side.ask("close")
    note = (
        f"limit: {THREADS} threads that copy blocks of this size from memory into the same rows, and hash them (xxh3)"
    )
    bench.add(Row(case, "MiB/s", taken["ours"], (), taken["limit"], Goal(LIMIT, 0.8), note, "", "loads"))
    case = f"copy {TOTAL_MIB} MiB and hash it, 2 MiB blocks, {THREADS} threads, without a tier"
    note = "for information: what a checksum costs beside a copy; limit: copied only"
    bench.add(Row(case, "MiB/s", taken["limit"], (), taken["copy"], None, note, "", "checksum"))


def interpreter(bench: Bench) -> None:
    """Processor time of everything but native code: more than what the interpreter is held for, and never less."""
    note = (
        "at most: processor time of the connector's threads, less that of native code, which runs "
        "without the interpreter; other system calls, and waking threads up, are still in it. As many threads as "
        "processors, from and to tmpfs: with more of them one may have to wait for a processor with the interpreter in "
        "its hand"
    )
    goal = Goal(OURS, 5, at_least=False)
    with in_memory() as memory:
        for mib in (2, 32):
            case, side = f"interpreter taken, {mib} MiB blocks", bench.side("timed")
            root = memory.folder("ours")
            side.open(root.seen, TOTAL_MIB // mib, mib * MIB, io_threads=THREADS)
            seed, taken = 0, dict[str, list[float]]()
            for repeat in range(bench.times(7, 3)):
                for path in root.behind.rglob("*.kvb"):  # what was stored before would fill the memory
                    path.unlink()
                seed = random.getrandbits(60)
                for do, jobs in (("store", 16), ("load", 1)):
                    taken.setdefault(do, []).append(side.move(do, seed, jobs)["python_us_mib"])
                    bench.raw.append({"case": case, "measure": do, "repeat": repeat, "value": taken[do][-1]})
                    bench.say(f"{case}, {repeat + 1}, {do}: {taken[do][-1]:.1f} us a MiB")
            for do, ours in taken.items():
                bench.add(Row(f"{case}, {do}", "us/MiB", ours, (), (), goal, note, "", "interpreter"))
            side.ask("close")
            root.remove()


def steps(bench: Bench) -> None:
    """A thread that computes in Python and drives the tier between two steps, as a scheduler does, while four requests
    load; and the same with nothing to do.

    It has the first processor for itself, and all else the others: what it notices is the interpreter. Where two
    processors are shared by all, it would be the file server.
    """
    first, *others = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, others)  # what is started from here on stays there: file server and worker
    try:
        with bench.slow(LINK_MIB_S) as slow:
            for mib in (2, 32):
                _steps(bench, slow, mib, first)
    finally:
        os.sched_setaffinity(0, [first, *others])


def _steps(bench: Bench, slow: Place, mib: int, processor: int) -> None:
    case = f"a scheduler's step while {REQUESTS} requests load, {mib} MiB blocks, {slow.name}"
    sides = {name: bench.side(f"{name} apart") for name in ("ours", "stock")}
    other = bench.side("another apart")
    roots, seed = {name: slow.folder(f"steps-{name}") for name in sides}, random.getrandbits(60)
    for name, side in sides.items():
        side.open(roots[name].seen, TOTAL_MIB // mib, mib * MIB)
        side.move("store", seed, jobs=16)
    other.open(roots["ours"].seen, TOTAL_MIB // mib, mib * MIB)
    settle()

    def taken_by(name: str, requests: int) -> Mapping[str, float]:
        set_cache(slow, roots[name].files())
        return sides[name].ask("steps", seed=seed, requests=requests, processor=processor)

    def while_another_loads() -> Mapping[str, float]:
        with ThreadPoolExecutor(1) as pool:
            loading = pool.submit(other.ask, "load_over", seed=seed, jobs=REQUESTS)
            seen = taken_by("ours", 0)
            loading.result()
        return seen

    measures: dict[str, Measure] = {name: partial(taken_by, name, REQUESTS) for name in sides}
    measures |= {"limit": partial(taken_by, "ours", 0), "another": while_another_loads}
    taken = bench.alternate(case, bench.times(9, 3), measures)
    for what, quantile in (("p99_us", "99th percentile"), ("p50_us", "median")):
        ours, stock, idle, another = (
            [one[what] for one in taken[name]] for name in ("ours", "stock", "limit", "another")
        )
        goal = Goal(LIMIT, 1.05, at_least=False)
        note = "limit: the same thread with nothing to load; a step is a quarter of a millisecond of pure Python"
        bench.add(Row(f"{case}, {quantile}", "us", ours, stock, idle, goal, note, "", "interpreter"))
        note = (
            "for information: the same blocks at the same time by another process, which takes nothing of this one's "
            "interpreter: what processors do to each other; limit: nothing to load"
        )
        bench.add(
            Row(f"{case}, by another process, {quantile}", "us", another, (), idle, None, note, "", "interpreter")
        )
    other.ask("close")
    for name, side in sides.items():
        side.ask("close")
        roots[name].remove()

"""What moving blocks leaves to others: the processor to whoever copies, the interpreter to who schedules."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from tests.bench.bench import Bench
from tests.bench.places import LINK_MIB_S, Place, set_cache, settle
from tests.bench.rows import LIMIT, OURS, Goal, Row

MIB = 1 << 20
TOTAL_MIB = 512
THREADS = 2
REQUESTS = 4


def memory_speed(bench: Bench) -> None:
    """Blocks that storage gives for nothing, beside what copying and hashing alone take."""
    case = f"load {TOTAL_MIB} MiB, 2 MiB blocks, from tmpfs, {THREADS} threads"
    with _in_memory() as folder:
        memory = Place("tmpfs", Path(folder), Path(folder))
        root, seed = memory.folder("ours"), random.getrandbits(60)
        side = bench.side("ours")
        side.open(root.seen, TOTAL_MIB // 2, 2 * MIB, io_threads=THREADS)
        side.move("store", seed, jobs=16)

        def ours() -> float:
            return float(side.move("load", seed)["mib_s"])

        def limit() -> float:
            return float(side.ask("copy_and_hash", threads=THREADS)["mib_s"])

        taken = bench.alternate(case, bench.times(15, 5), {"ours": ours, "limit": limit})
        side.ask("close")
    note = (
        f"limit: {THREADS} threads that copy blocks of this size from memory into the same rows, and hash them (xxh3)"
    )
    bench.add(Row(case, "MiB/s", taken["ours"], (), taken["limit"], Goal(LIMIT, 0.8), note, "", "loads"))


def interpreter(bench: Bench) -> None:
    """Processor time of everything but native code: more than what the interpreter is held for, and never less."""
    note = (
        "at most: processor time of the whole process less that of the native calls, which are made without the "
        "interpreter, and of the bench's own waking up; other system calls, and waking threads up, are still in it"
    )
    goal = Goal(OURS, 5, at_least=False)
    with _in_memory() as folder:
        memory = Place("tmpfs", Path(folder), Path(folder))
        for mib in (2, 32):
            case, side = f"interpreter taken, {mib} MiB blocks", bench.side("timed")
            root = memory.folder("ours")
            side.open(root.seen, TOTAL_MIB // mib, mib * MIB)
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
    """
    with bench.slow(LINK_MIB_S) as slow:
        for mib in (2, 32):
            case = f"a scheduler's step while {REQUESTS} requests load, {mib} MiB blocks, {slow.name}"
            root, side, seed = slow.folder("steps"), bench.side("ours"), random.getrandbits(60)
            side.open(root.seen, TOTAL_MIB // mib, mib * MIB)
            side.move("store", seed, jobs=16)
            settle()

            def taken_by(requests: int, root: Place = root, seed: int = seed) -> Mapping[str, float]:
                set_cache(slow, root.files())
                return bench.side("ours").ask("steps", seed=seed, requests=requests)

            both = {"ours": partial(taken_by, REQUESTS), "limit": partial(taken_by, 0)}
            taken = bench.alternate(case, bench.times(9, 3), both)
            for what, goal in (("p99_us", Goal(LIMIT, 1.05, at_least=False)), ("p50_us", None)):
                ours, idle = ([one[what] for one in taken[name]] for name in ("ours", "limit"))
                quantile = "99th percentile" if what == "p99_us" else "median"
                note = "limit: the same thread with nothing to load; a step is half a millisecond of pure Python" + (
                    "" if goal else "; for information"
                )
                bench.add(Row(f"{case}, {quantile}", "us", ours, (), idle, goal, note, "", "interpreter"))
            side.ask("close")
            root.remove()


def _in_memory() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(dir="/dev/shm")

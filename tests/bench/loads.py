"""One request's load, cold: ours and the stock tier in one job, beside the best that fio gets out of the same mount."""

from __future__ import annotations

import random
from functools import partial

from tests.bench import fio
from tests.bench.bench import Bench
from tests.bench.places import LINK_MIB_S, Place, set_cache, settle
from tests.bench.rows import LIMIT, STOCK, Goal, Row, quicker

MIB = 1 << 20
TOTAL_MIB = 512
COLD = "page cache of the files dropped before each repeat (sync, then posix_fadvise DONTNEED)"
SERVED = "the client's kernel keeps nothing, the file server's has all"


def run(bench: Bench) -> None:
    for mib in (2, 32):
        _load(bench, bench.local, mib, [Goal(LIMIT, 0.9)])
    with bench.slow() as slow:
        _load(bench, slow, 2, [Goal(LIMIT, 0.8), Goal(STOCK, 15)])
        _load(bench, slow, 32, [Goal(LIMIT, 0.9), Goal(STOCK, 4)])
    # Without a link's limit fio, ours and the file server share two processors, and what ours does more (checksum and
    # copy) is missing elsewhere. With one, storage is what is waited for, as it is on machines with more of them.
    with bench.slow(LINK_MIB_S) as slow:
        _load(bench, slow, 2, [Goal(LIMIT, 0.8)])
        _load(bench, slow, 32, [Goal(LIMIT, 0.9)])


def _load(bench: Bench, place: Place, mib: int, goals: list[Goal]) -> None:
    case = f"load {TOTAL_MIB} MiB, {mib} MiB blocks, {place.name}"
    block, blocks = mib * MIB, TOTAL_MIB // mib
    seed = random.getrandbits(60)
    roots = {side: place.folder(f"load-{side}") for side in ("ours", "stock")}
    for side, root in roots.items():
        bench.say(f"{case}: {side} stores what it will load")
        bench.side(side).open(root.seen, blocks, block)
        bench.side(side).move("store", seed, jobs=16)
        settle()  # what is written by and by would else lie among the next side's, which no load can help
    laid = place.folder("load-fio")
    files = fio.Files(laid.behind, block, blocks)
    settle()

    def tier(side: str) -> dict[str, float]:
        set_cache(place, roots[side].files())
        return bench.side(side).move("load", seed)

    def limit(setup: fio.Setup) -> float:
        argv = fio.read_argv(setup, files, laid.seen)
        set_cache(place, files.paths())
        return fio.run(argv, TOTAL_MIB * MIB)

    setups = fio.read_setups(block, blocks)
    survey = bench.alternate(f"{case}, survey", 1, {setup.name: partial(limit, setup) for setup in setups})
    best = sorted(setups, key=lambda setup: -max(survey[setup.name]))[:2]
    repeats = bench.times(9)
    measures = {"ours": partial(tier, "ours"), "stock": partial(tier, "stock")}
    measures |= {f"fio {setup.name}": partial(limit, setup) for setup in best}
    taken = bench.alternate(case, repeats, measures)
    chosen = max(best, key=lambda setup: sorted(taken[f"fio {setup.name}"])[repeats // 2])
    ours, stock = ([one["mib_s"] for one in taken[side]] for side in ("ours", "stock"))
    command = " ".join(fio.read_argv(chosen, files, laid.seen)).replace(str(bench.local.behind), "DIR")
    for goal in goals:
        name = case if goal.against == LIMIT else f"{case}: times stock"
        limits, whose = quicker(taken[f"fio {chosen.name}"], stock)
        note = f"{whose}fio's best of {len(setups)}: {chosen.name}; {COLD if place.cold else SERVED}"
        bench.add(Row(name, "MiB/s", ours, stock, limits, goal, note, command, "loads"))
    ours_cpu, stock_cpu = ([one["cpu_s_gib"] for one in taken[side]] for side in ("ours", "stock"))
    goal = Goal(STOCK, 1.3, at_least=False)
    bench.add(Row(f"CPU of {case}", "s/GiB", ours_cpu, stock_cpu, (), goal, "user and system", "", "cpu"))
    for side in roots:
        bench.side(side).ask("close")
    for folder in (*roots.values(), laid):
        folder.remove()

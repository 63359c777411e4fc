"""Stores: the rows of one finished prefill in 16 jobs, beside fio writing a file a block with as many threads."""

from __future__ import annotations

import random
import shutil
import subprocess
from functools import partial
from pathlib import Path

from tests.bench import fio
from tests.bench.bench import Bench
from tests.bench.places import Place, settle
from tests.bench.rows import LIMIT, STOCK, Goal, Row, quicker

KIB, MIB = 1 << 10, 1 << 20
JOBS = 16
# Of a block, and of all blocks: locally, and where every call takes 2 ms.
SIZES = ((64 * KIB, 256 * MIB, 32 * MIB), (2 * MIB, 512 * MIB, 256 * MIB), (32 * MIB, 512 * MIB, 512 * MIB))


def run(bench: Bench) -> None:
    with bench.fresh_disk() as disk:
        for block, total, _ in SIZES:
            _store(bench, disk, block, total)
    with bench.slow() as slow:
        for block, _, total in SIZES:
            _store(bench, slow, block, total)


def _store(bench: Bench, place: Place, block: int, total: int) -> None:
    size = f"{block // MIB} MiB" if block >= MIB else f"{block // KIB} KiB"
    case = f"store {total // MIB} MiB, {size} blocks, {place.name}"
    roots = {side: place.folder(f"store-{side}") for side in ("ours", "stock")}
    opened = {side: bench.side(side).open(root.seen, total // block, block) for side, root in roots.items()}
    threads, way = opened["ours"]["threads"], opened["ours"]["publish"]
    cached: set[bool] = set()

    def tier(side: str) -> dict[str, float]:
        result = bench.side(side).move("store", random.getrandbits(60), jobs=JOBS)
        # Only blocks are removed: folders and manifest stay, as they do in a cache that lives.
        written = [path for path in roots[side].files() if path.stat().st_size >= block]
        if side == "ours":
            cached.add(_in_page_cache(written[-1]))
        for path in written:
            path.unlink()
        settle()
        return result

    def limit(direct: bool) -> float:
        folder = place.folder("store-fio")
        for job in range(threads):
            (folder.behind / str(job)).mkdir()
        rate = fio.run(fio.write_argv(folder.seen, block, total // block, threads, direct=direct), total)
        shutil.rmtree(folder.behind)
        settle()
        return rate

    measures = {"ours": partial(tier, "ours"), "stock": partial(tier, "stock")}
    measures |= {"fio direct": partial(limit, True), "fio buffered": partial(limit, False)}
    for side in roots:  # the first store makes what later ones find: folders, threads, buffers
        tier(side)
    taken = bench.alternate(case, bench.times(7), measures)
    # Writing into the page cache is another thing than writing to the disk: each is compared with its like.
    mode = "buffered" if cached == {True} else "direct"
    ours, stock = ([one["mib_s"] for one in taken[side]] for side in ("ours", "stock"))
    argv = fio.write_argv(place.seen / "store-fio", block, total // block, threads, direct=mode == "direct")
    limits, whose = quicker(taken[f"fio {mode}"], stock)
    note = (
        f"{whose}ours publishes by {way}, {mode}; stock writes direct and renames, without fsync; fio: {mode}, "
        f"{threads} threads, no fsync, no rename (other mode: {_median(taken, mode):.0f} MiB/s)"
    )
    command = " ".join(argv).replace(str(bench.local.behind), "DIR")
    bench.add(Row(case, "MiB/s", ours, stock, limits, Goal(LIMIT, 0.8), note, command, "stores"))
    ours_cpu, stock_cpu = ([one["cpu_s_gib"] for one in taken[side]] for side in ("ours", "stock"))
    goal = Goal(STOCK, 1.3, at_least=False)
    bench.add(Row(f"CPU of {case}", "s/GiB", ours_cpu, stock_cpu, (), goal, "user and system", "", "cpu"))
    for side, root in roots.items():
        bench.side(side).ask("close")
        root.remove()


def _median(taken: dict[str, list[float]], mode: str) -> float:
    other = sorted(taken["fio direct" if mode == "buffered" else "fio buffered"])
    return other[len(other) // 2]


def _in_page_cache(path: Path) -> bool:
    """Whether most of a file that was just written is in the page cache."""
    out = subprocess.run(
        ["fincore", "--bytes", "--noheadings", "--output", "RES", str(path)], capture_output=True, check=True
    )
    return int(out.stdout or 0) > path.stat().st_size // 2

"""What the connector needs beyond the bytes: memory, and time until another client sees a block."""

from __future__ import annotations

import random

from tests.bench.bench import Bench
from tests.bench.rows import OURS, Goal, Row

MIB = 1 << 20


def memory(bench: Bench) -> None:
    """What a process needs beyond the rows, with blocks of 64 MiB."""
    from tests.bench.worker import Side

    case = "memory beyond the rows, 64 MiB blocks"
    grown, bound, threads = [], 0, 0
    for repeat in range(bench.times(3, 1)):
        root = bench.local.folder("memory")
        side = Side("ours", bench.local.behind / "worker-memory.log")
        try:
            opened = side.open(root.seen, 16, 64 * MIB)
            threads = opened["threads"]
            bound = threads * side.ask("stripe")["buffer_bytes"]
            seed = random.getrandbits(60)
            side.move("store", seed, jobs=4)
            side.move("load", seed)
            grown.append((side.ask("memory")["peak_bytes"] - opened["rss_bytes"]) / MIB)
            bench.say(f"{case}, repeat {repeat + 1}: {grown[-1]:.0f} MiB")
        finally:
            side.end()
            root.remove()
    limit = bound / MIB
    goal = Goal(OURS, round(limit + 16, 1), at_least=False)
    note = f"growth of the process by stores and one load; limit: {threads} threads x one buffer; 16 MiB for all else"
    bench.add(Row(case, "MiB", grown, (), [limit], goal, note, "", "memory"))


def publishing(bench: Bench) -> None:
    """Another client's first lookup of a fresh block, where two mounts of one filesystem are at hand."""
    from tests.bench import publish_latency

    if len(bench.mounts) != 2:
        bench.say("publishing: needs two mounts by two clients (--mounts A B), left out")
        return
    a, b = bench.mounts
    way = publish_latency.way_for(a)
    files = 100 if bench.quick else 1000
    rows = [publish_latency.row(a, b, way, files, looked_before) for looked_before in (False, True)]
    stock = publish_latency.row(a, b, "rename", min(files, 100), False)
    name = "another client's first lookup of a fresh block, 99th percentile"
    goal = Goal(OURS, 20, at_least=False)
    note = f"{way}; worse of: looked up in vain before, or not; stock's way (rename) until its lookups took 60 s"
    ours = [max(row.lookup_p99_ms for row in rows)]
    command = f"python -m tests.bench.publish_latency A B --files {files}"
    bench.add(Row(name, "ms", ours, [stock.lookup_p99_ms], (), goal, note, command, "publishing"))

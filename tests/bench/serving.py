"""What users of a real vLLM feel: the first token on storage slower than computing, and the gaps between tokens."""

from __future__ import annotations

import contextlib
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests import faultfs
from tests.bench.bench import Bench
from tests.bench.rows import LIMIT, Goal, Row, percentile
from tests.bench.served import MODEL, Served, write_model

BLOCK_TOKENS = 64
# A few MiB of KV: a second of computing or more, and many more at 1 MiB/s.
PROMPT_TOKENS = 12 * BLOCK_TOKENS + 5
SLOW_MIB_S = 1
# A root_dir that cannot be used: vLLM's connector and CPU tier are at work, and storage is not.
_NOTHING = "/dev/null/nothing"
_NOTE = "vLLM on CPU, one compute thread, a random Llama of 23 million parameters; limit: without a connector"


def prompt(tokens: int = PROMPT_TOKENS) -> list[int]:
    """One that nobody had before."""
    return [random.randrange(3, MODEL["vocab_size"]) for _ in range(tokens)]


# One with the connector as it is configured by default, one without, and one that has all but the storage.
ENGINES = ("ours", "limit", "cpu tier")


@contextlib.contextmanager
def engines(bench: Bench, root: Path, names: Sequence[str]) -> Iterator[dict[str, Served]]:
    """Those of ENGINES that are named."""
    model = write_model(bench.local.folder("model").behind)

    def transfer(root: str) -> dict[str, Any]:
        return {
            "kv_connector": "LlmdStorageConnector",
            "kv_connector_module_path": "llmd_storage_connector.vllm.connector",
            "kv_role": "kv_both",
            "kv_connector_extra_config": {
                "root_dir": root,
                "cpu_bytes_to_use": 192 << 20,
                "block_size": BLOCK_TOKENS,
            },
        }

    transfers = {"ours": transfer(str(root)), "limit": None, "cpu tier": transfer(_NOTHING)}
    started = {
        name: Served(model, transfers[name], bench.local.behind / f"served-{name.replace(' ', '-')}.log")
        for name in names
    }
    try:
        for name, engine in started.items():
            bench.say(f"vLLM ({name}): first tokens in {engine.first_token_s(prompt(300)):.2f} s (warm-up)")
        yield started
    finally:
        for engine in started.values():
            engine.end()


def slow_storage(bench: Bench) -> None:
    """Blocks are there, but loading them takes longer than computing them."""
    case = f"time to first token, storage at {SLOW_MIB_S} MiB/s"
    behind = bench.local.folder("throttled")
    prompts = [prompt() for _ in range(bench.times(9, 4))]
    with (
        faultfs.mounted(behind.behind, bench.local.behind / "throttled-seen") as mount,
        engines(bench, mount.at, ENGINES[:2]) as both,
    ):
        for one in prompts:
            both["ours"].first_token_s(one)
        _wait_for_blocks(both["ours"], behind.behind, len(prompts) * (PROMPT_TOKENS // BLOCK_TOKENS))
        both["ours"].ask("reset")
        mount.set(bw_mib=SLOW_MIB_S)
        taken: dict[str, list[float]] = {"ours": [], "limit": []}
        for index, one in enumerate(prompts):
            for name in ("ours", "limit") if index % 2 else ("limit", "ours"):
                taken[name].append(both[name].first_token_s(one))
            bench.say(
                f"{case}, request {index + 1}: ours {taken['ours'][-1]:.2f} s, without {taken['limit'][-1]:.2f} s"
            )
        mount.set()
    bench.raw.append({"case": case, **taken})
    goal = Goal(LIMIT, 1.1, at_least=False)
    ours, limit = taken["ours"], taken["limit"]
    bench.add(Row(f"{case}, first request", "s", ours[:1], (), limit[:1], goal, _NOTE, "", "serving"))
    note = f"median of {len(prompts) - 1}"
    bench.add(Row(f"{case}, later requests", "s", ours[1:], (), limit[1:], goal, note, "", "serving"))
    note = "the longest of all against the median without a connector"
    bench.add(Row(f"{case}, worst", "s", [max(ours)], (), [statistics.median(limit)], None, note, "", "serving"))


def tokens(bench: Bench) -> None:
    """A running request, while others' blocks are stored and loaded."""
    root = bench.local.folder("tokens")
    count, every, tokens = 4, 40, 200
    medians: dict[str, dict[str, list[float]]] = {}
    tails: dict[str, dict[str, list[float]]] = {}
    with engines(bench, root.seen, ENGINES) as both:
        for repeat in range(bench.times(8, 2)):
            others, running = [prompt() for _ in range(count)], prompt(100)
            for doing in ("storing", "loading"):
                for name in (*both,) if repeat % 2 else reversed(both):
                    both[name].ask("reset")
                    took = both[name].gaps_s(running, tokens, others, every)
                    gaps = [gap * 1e3 for gap in took["gaps_s"]]
                    medians.setdefault(doing, {}).setdefault(name, []).append(statistics.median(gaps))
                    tails.setdefault(doing, {}).setdefault(name, []).append(percentile(gaps, 0.99))
                    bench.raw.append({"case": f"between tokens, {doing}", "measure": name, "gaps_ms": gaps})
                    bench.say(
                        f"between tokens, {doing}, {repeat + 1}, {name}: median {statistics.median(gaps):.2f} ms, "
                        f"p99 {percentile(gaps, 0.99):.2f} ms of {len(gaps)}, all in {took['seconds']:.1f} s"
                    )
    root.remove()
    for doing, taken in medians.items():
        name = (
            f"time between tokens of a running request while others are {'stored' if doing == 'storing' else 'loaded'}"
        )
        note = f"steps that compute one token only; {count} other prompts of {PROMPT_TOKENS} tokens; {_NOTE}"
        goal = Goal(LIMIT, 1.03, at_least=False)
        bench.add(Row(f"{name}, median", "ms", taken["ours"], (), taken["limit"], goal, note, "", "serving"))
        note = "limit: the same connector with vLLM's CPU tier alone, storage being out of use"
        row = Row(f"{name}, storage's part", "ms", taken["ours"], (), taken["cpu tier"], goal, note, "", "serving")
        bench.add(row)
        worst = tails[doing]
        note = "for information"
        bench.add(Row(f"{name}, 99th percentile", "ms", worst["ours"], (), worst["limit"], None, note, "", "serving"))


def _wait_for_blocks(engine: Served, root: Path, count: int, timeout_s: float = 120.0) -> None:
    """Stores end after the answer, and go on only while the engine steps."""
    limit = time.monotonic() + timeout_s
    while (found := sum(1 for _ in root.glob("*/??/*.kvb"))) < count:
        if time.monotonic() > limit:
            raise RuntimeError(f"{found} of {count} blocks were stored within {timeout_s:g} s")
        engine.first_token_s([3])
        time.sleep(0.1)

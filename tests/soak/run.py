# SPDX-License-Identifier: Apache-2.0
"""One soak: engines, their mounts, faults in turn, and what came of it."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.engine.models import ROW_BYTES, write_llama
from tests.engine.process import Engine, Metrics, prompt, transfer_config
from tests.faultfs import FaultFS, mounted
from tests.soak.faults import FAULTS, well

LOOKUP_S, LOAD_S = 1.0, 2.0
# Both deadlines, and computing on a machine that others use, too. Later is a request that storage holds up.
ANSWER_LIMIT_S = LOOKUP_S + LOAD_S + 7.0
PROMPTS = 24
FAULT_S = (1.0, 8.0)
WELL_S = (1.0, 6.0)


@dataclass
class Report:
    """Counts over all engines. held_up: answers after the limit; loaded: blocks that came from storage."""

    seed: int
    seconds: float = 0.0
    answers: int = 0
    differed: int = 0
    held_up: int = 0
    ended: int = 0
    loaded: int = 0
    stored: int = 0
    slowest_s: float = 0.0
    faults: dict[str, int] = field(default_factory=dict)
    wrong: list[dict[str, Any]] = field(default_factory=list)
    counters: dict[str, float] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Also that storage was used at all: a soak without it proves nothing."""
        return self.answers > 0 and self.loaded > 0 and not (self.differed or self.held_up or self.ended)

    def as_json(self) -> dict[str, Any]:
        return {"passed": self.passed, **asdict(self)}

    def line(self) -> str:
        faults = sum(self.faults.values())
        return (
            f"{self.answers} answers in {self.seconds:.0f} s under {faults} faults: {self.differed} differed, "
            f"{self.held_up} held up, {self.ended} engines ended; {self.loaded} blocks loaded, {self.stored} stored, "
            f"slowest answer {self.slowest_s:.1f} s, seed {self.seed}"
        )


class Soak:
    """See the module's head. scratch: an empty folder for everything the run makes."""

    def __init__(self, scratch: Path, *, seed: int, engines: int, seconds: float) -> None:
        self._scratch = scratch
        self._rng = random.Random(seed)
        self._count = engines
        self._seconds = seconds
        self._report = Report(seed)

    def run(self, say: Callable[[str], None]) -> Report:
        """Blocks for the seconds asked for, and the time that engines take to start and to end."""
        say(f"seed {self._report.seed}")
        model = write_llama(self._scratch / "model", 0)
        source = self._scratch / "claim"
        source.mkdir()
        with contextlib.ExitStack() as ends:
            mounts = [
                ends.enter_context(mounted(source, self._scratch / f"at-{index}")) for index in range(self._count)
            ]
            plain = self._start(ends, "plain", model, None)
            engines = [self._start(ends, fs.at.name, model, fs.at) for fs in mounts]
            right = self._right(plain.wait_ready())
            for engine in engines:
                engine.wait_ready()
            self._between_faults(list(zip(engines, mounts, strict=True)), right, say)
        return self._report

    def _start(self, ends: contextlib.ExitStack, name: str, model: Path, root: Path | None) -> Engine:
        extra = {
            # Four prompts on the "GPU" and four here: nearly all that is asked again comes from storage.
            "cpu_bytes_to_use": 40 * ROW_BYTES,
            "lookup_deadline_s": LOOKUP_S,
            "load_deadline_s": LOAD_S,
            "store_deadline_s": 5,
            # A tiny model computes faster than any storage loads, but this is about what is loaded.
            "skip_slow_loads": False,
        }
        config = transfer_config(root, extra) if root else None
        llm = {"num_gpu_blocks_override": 80} if root else {"enable_prefix_caching": False}
        engine = Engine(self._scratch / f"{name}.log", model, config, llm=llm)
        ends.callback(engine.kill)
        return engine

    def _right(self, plain: Engine) -> list[tuple[list[int], list[int]]]:
        """Prompts, some of which begin alike, and the answers of an engine without a cache."""
        prompts = []
        for number in range(PROMPTS):
            tokens = prompt(number, 10)
            if number % 3 == 0 and prompts:  # the first half is another prompt's
                tokens = self._rng.choice(prompts)[: len(tokens) // 2] + tokens[len(tokens) // 2 :]
            prompts.append(tokens)
        pairs = [(tokens, plain.generate(tokens)) for tokens in prompts]
        plain.kill()
        return pairs

    def _between_faults(
        self,
        pairs: list[tuple[Engine, FaultFS]],
        right: list[tuple[list[int], list[int]]],
        say: Callable[[str], None],
    ) -> None:
        began = time.monotonic()
        names: list[str] = []
        while (elapsed := time.monotonic() - began) < self._seconds and not self._report.ended:
            names = names or self._rng.sample(sorted(FAULTS), len(FAULTS))  # each once, then each once more
            name, (_, fs) = names.pop(), self._rng.choice(pairs)
            before = self._report.answers
            FAULTS[name](fs, self._rng)
            self._report.faults[name] = self._report.faults.get(name, 0) + 1
            self._ask_for(self._rng.uniform(*FAULT_S), pairs, right, name)
            well(fs)
            self._ask_for(self._rng.uniform(*WELL_S), pairs, right, f"after {name}")
            answers = self._report.answers - before
            say(f"{elapsed:6.0f} s  {fs.at.name}  {name}: {answers} answers, {self._report.differed} differed so far")
        self._report.seconds = time.monotonic() - began
        for engine, _ in pairs:
            if engine.process.poll() is None:
                self._count_up(engine.metrics())

    def _ask_for(
        self,
        seconds: float,
        pairs: list[tuple[Engine, FaultFS]],
        right: list[tuple[list[int], list[int]]],
        fault: str,
    ) -> None:
        limit = time.monotonic() + seconds
        while time.monotonic() < limit and not self._report.ended:
            engine, fs = self._rng.choice(pairs)
            number = self._rng.randrange(len(right))
            tokens, expected = right[number]
            try:
                seen = engine.ask("generate", prompt=tokens, max_tokens=8, timeout_s=60)
            except RuntimeError as error:
                self._report.ended += 1
                self._report.wrong.append({"fault": fault, "engine": fs.at.name, "prompt": number, "end": str(error)})
                return
            self._report.answers += 1
            self._report.slowest_s = max(self._report.slowest_s, seen["seconds"])
            late, other = seen["seconds"] > ANSWER_LIMIT_S, seen["tokens"] != expected
            self._report.held_up += late
            self._report.differed += other
            if late or other:
                self._report.wrong.append({"fault": fault, "engine": fs.at.name, "prompt": number} | seen)

    def _count_up(self, seen: Metrics) -> None:
        self._report.loaded += round(seen.ours("loaded_blocks"))
        self._report.stored += round(seen.ours("stored_blocks"))
        for name, value in seen.items():
            if "llmd_storage" in name:
                self._report.counters[name] = self._report.counters.get(name, 0) + value

# SPDX-License-Identifier: Apache-2.0
"""One soak: engines, their mounts, faults in turn, what is done to engines meanwhile, and what came of it."""

from __future__ import annotations

import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.engine.models import ROW_BYTES, write_llama, write_lora
from tests.engine.process import Engine, Metrics, prompt, transfer_config
from tests.faultfs import FaultFS, mounted
from tests.soak.faults import FAULTS, well
from tests.soak.schedule import Turn, turns
from tests.soak.servers import BASE, EVENTS, OTHER, VERSIONS, Adapter, Server

LOOKUP_S, LOAD_S = 1.0, 2.0
# Both deadlines, and computing on a machine that others use, too. Later is a request that storage holds up.
ANSWER_LIMIT_S = LOOKUP_S + LOAD_S + 7.0
PROMPTS = 24
LORA = {"enable_lora": True, "max_lora_rank": 8}

# {whose answer: of each prompt}
Right = Mapping[str, Sequence[list[int]]]


@dataclass
class Report:
    """Counts over all engines. held_up: answers after the limit; ended: by themselves; loaded: blocks from storage."""

    seed: int
    seconds: float = 0.0
    answers: Counter[str] = field(default_factory=Counter)  # by whose they were
    differed: int = 0
    held_up: int = 0
    ended: int = 0
    loaded: int = 0
    stored: int = 0
    slowest_s: float = 0.0
    slowest_reset_s: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    wrong: list[dict[str, Any]] = field(default_factory=list)
    counters: Counter[str] = field(default_factory=Counter)

    @property
    def passed(self) -> bool:
        """Also that storage was used at all: a soak without it proves nothing."""
        return self.answers.total() > 0 and self.loaded > 0 and not (self.differed or self.held_up or self.ended)

    def as_json(self) -> dict[str, Any]:
        return {"passed": self.passed, **vars(self)}

    def line(self) -> str:
        return (
            f"{self.answers.total()} answers ({self.answers[VERSIONS[0]] + self.answers[VERSIONS[1]]} by an adapter, "
            f"{self.answers[OTHER]} after a reload) in {self.seconds:.0f} s under {self.faults.total()} faults and "
            f"{self.events.total()} changes of engines: {self.differed} differed, {self.held_up} held up, "
            f"{self.ended} engines ended; {self.loaded} blocks loaded, {self.stored} stored, slowest answer "
            f"{self.slowest_s:.1f} s, slowest reset {self.slowest_reset_s:.1f} s, seed {self.seed}"
        )

    def count_up(self, seen: Metrics) -> None:
        """What an engine counted since it was started."""
        self.loaded += round(seen.ours("loaded_blocks"))
        self.stored += round(seen.ours("stored_blocks"))
        self.counters.update({name: value for name, value in seen.items() if "llmd_storage" in name})


class Drill:
    """Faults and events under questions, every answer held against the right one. seconds: how long."""

    def __init__(
        self,
        servers: Sequence[Server],
        prompts: Sequence[Sequence[int]],
        right: Right,
        report: Report,
        rng: random.Random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._servers = servers
        self._prompts = prompts
        self._right = right
        self._report = report
        self._rng = rng
        self._clock = clock

    def run(self, seconds: float, say: Callable[[str], None]) -> None:
        """Blocks so long, and for what a turn takes."""
        report, began = self._report, self._clock()
        for turn in turns(self._rng, sorted(FAULTS), sorted(EVENTS), len(self._servers)):
            elapsed = self._clock() - began
            if elapsed >= seconds or report.ended:
                break
            before = report.answers.total()
            try:
                self._take(turn)
            except RuntimeError as error:  # an engine gave no answer
                report.ended += 1
                report.wrong.append({"turn": asdict(turn), "end": str(error)})
            said = f", {turn.event} at {self._servers[turn.to].name}" if turn.event else ""
            say(
                f"{elapsed:6.0f} s  {self._servers[turn.at].name}  {turn.fault}{said}: "
                f"{report.answers.total() - before} answers, {report.differed} differed so far"
            )
        report.seconds = self._clock() - began
        report.slowest_reset_s = max(server.slowest_reset_s for server in self._servers)
        if not report.ended:
            for server in self._servers:
                report.count_up(server.engine.metrics())

    def _take(self, turn: Turn) -> None:
        storage, changed = self._servers[turn.at].fs, self._servers[turn.to]
        FAULTS[turn.fault](storage, self._rng)
        self._report.faults[turn.fault] += 1
        try:
            # Before and after, so that blocks of both times meet.
            self._ask_for(turn.fault_s / 2, turn.fault)
            if turn.event:
                EVENTS[turn.event](changed)
                self._report.events[turn.event] += 1
            self._ask_for(turn.fault_s / 2, " and ".join(filter(None, (turn.fault, turn.event))))
        finally:
            well(storage)
        self._ask_for(turn.rest_s, f"after {turn.fault}")
        for server in self._servers:
            if server.has_other_weights:
                # It uses storage no more, for ever: the next turns need one that does.
                self._report.count_up(server.restart())

    def _ask_for(self, seconds: float, during: str) -> None:
        limit = self._clock() + seconds
        while self._clock() < limit:
            server, number = self._rng.choice(self._servers), self._rng.randrange(len(self._prompts))
            variant = server.variant(self._rng)
            seen = server.ask(self._prompts[number], variant)
            report = self._report
            report.answers[variant] += 1
            report.slowest_s = max(report.slowest_s, seen["seconds"])
            late, other = seen["seconds"] > ANSWER_LIMIT_S, seen["tokens"] != self._right[variant][number]
            report.held_up += late
            report.differed += other
            if late or other:
                about = {"during": during, "engine": server.name, "prompt": number, "of": variant}
                report.wrong.append(about | seen)


class Soak:
    """See the module's head. scratch: an empty folder for everything the run makes."""

    def __init__(self, scratch: Path, *, seed: int, engines: int, seconds: float) -> None:
        self._scratch = scratch
        self._rng = random.Random(seed)
        self._count = engines
        self._seconds = seconds
        self._report = Report(seed)
        self._starts = Counter[str]()

    def run(self, say: Callable[[str], None]) -> Report:
        """Blocks for the seconds asked for, and the time that engines take to start and to end."""
        say(f"seed {self._report.seed}")
        model, other = (write_llama(self._scratch / f"model-{seed}", seed) for seed in (0, 1))
        versions = {name: write_lora(self._scratch / name, seed) for seed, name in enumerate(VERSIONS)}
        source = self._scratch / "claim"
        source.mkdir()
        prompts = self._prompts()
        with contextlib.ExitStack() as ends:
            mounts = [
                ends.enter_context(mounted(source, self._scratch / f"at-{index}")) for index in range(self._count)
            ]
            adapter = Adapter(self._scratch / "adapter", versions)
            servers = [self._server(ends, fs, model, adapter, other) for fs in mounts]
            right = self._right(ends, model, other, versions, prompts)
            for server in servers:
                server.begin()
            Drill(servers, prompts, right, self._report, self._rng).run(self._seconds, say)
        return self._report

    def _server(self, ends: contextlib.ExitStack, fs: FaultFS, model: Path, adapter: Adapter, other: Path) -> Server:
        return Server(fs, lambda: self._start(ends, fs.at.name, model, fs.at), adapter, other)

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
        llm = LORA | ({"num_gpu_blocks_override": 80} if root else {"enable_prefix_caching": False})
        self._starts[name] += 1
        engine = Engine(self._scratch / f"{name}-{self._starts[name]}.log", model, config, llm=llm)
        ends.callback(engine.kill)
        return engine

    def _prompts(self) -> list[list[int]]:
        """Some of them begin alike."""
        prompts: list[list[int]] = []
        for number in range(PROMPTS):
            tokens = prompt(number, 10)
            if number % 3 == 0 and prompts:  # the first half is another prompt's
                tokens = self._rng.choice(prompts)[: len(tokens) // 2] + tokens[len(tokens) // 2 :]
            prompts.append(tokens)
        return prompts

    def _right(
        self,
        ends: contextlib.ExitStack,
        model: Path,
        other: Path,
        versions: Mapping[str, Path],
        prompts: Sequence[list[int]],
    ) -> Right:
        """The answers of engines without a cache, where nothing is ever replaced: each version has an id and a path."""
        plain, reloaded = (self._start(ends, path.name, path, None) for path in (model, other))
        plain.wait_ready()
        right = {BASE: [plain.generate(tokens) for tokens in prompts]}
        for lora_id, (name, path) in enumerate(versions.items(), start=1):
            right[name] = [plain.generate(tokens, lora=str(path), lora_id=lora_id) for tokens in prompts]
        plain.kill()
        reloaded.wait_ready()
        right[OTHER] = [reloaded.generate(tokens) for tokens in prompts]
        reloaded.kill()
        if len({str(answers) for answers in right.values()}) < len(right):
            raise RuntimeError("two variants answer alike: a wrong one would not be noticed")
        return right

"""Steps with needs, run in parallel where they do not need each other, each with its log and time.

Threads: one thread a running step; the caller's thread owns all records and starts, watches and reports. A step
tells the caller only by its future and by its Console's ``note`` (a string that is replaced, never changed).
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Protocol

from tests.lab.errors import Cancelled, LabError
from tests.lab.proc import Console, open_log

RUNNING = "running"  # below the logs: the programs that steps run just now (proc.end_orphans)


class State(Enum):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    CURRENT = "current"  # there was nothing to do
    FAILED = "failed"
    STOPPED = "stopped"  # another step failed


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do. ``current`` says whether it is done already; ``hint`` what to try when it fails."""

    name: str
    run: Callable[[Console], None]
    needs: tuple[str, ...] = ()
    current: Callable[[], bool] | None = None
    hint: str = ""


@dataclass(slots=True)
class Record:
    """What became of a step."""

    step: Step
    console: Console
    state: State = State.WAITING
    started_s: float = 0.0
    seconds: float = 0.0
    error: str = ""

    def elapsed_s(self) -> float:
        return time.monotonic() - self.started_s if self.state is State.RUNNING else self.seconds


class Watcher(Protocol):
    """Shows progress. Called from the runner's thread only."""

    def changed(self, record: Record) -> None: ...
    def tick(self, records: Sequence[Record]) -> None: ...


@dataclass(slots=True)
class StepFailed(LabError):
    """A step failed; the rest was stopped. Says what, the last lines of its log, where that is, what to try."""

    record: Record
    tail: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"step {self.record.step.name!r} failed: {self.record.error}"]
        lines += [f"  | {line}" for line in self.tail]
        lines.append(f"its log: {self.record.console.path}")
        if self.record.step.hint:
            lines.append(f"try: {self.record.step.hint}")
        return "\n".join(lines)


def ordered(steps: Iterable[Step]) -> list[Step]:
    """The steps, each after all that it needs. Raises: LabError for an unknown need or a circle."""
    todo = {s.name: s for s in steps}
    known = set(todo)
    done: list[Step] = []
    while todo:
        names = {s.name for s in done}
        ready = [s for s in todo.values() if names.issuperset(s.needs)]
        if not ready:
            missing = sorted({n for s in todo.values() for n in s.needs} - known)
            why = f"unknown: {', '.join(missing)}" if missing else f"a circle among {', '.join(sorted(todo))}"
            raise LabError(f"the steps cannot be ordered: {why}")
        for s in ready:
            done.append(s)
            del todo[s.name]
    return done


def tail(path: Path, count: int = 15) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()[-count:]
    except FileNotFoundError:
        return []


class Runner:
    """Runs steps; ``run`` returns their records or raises StepFailed after every started step has ended."""

    def __init__(self, steps: Iterable[Step], log_dir: Path, watcher: Watcher, report: Path | None = None) -> None:
        self.cancel = threading.Event()
        self.records = {
            s.name: Record(s, Console(log_dir / f"{s.name}.log", self.cancel, running=log_dir / RUNNING))
            for s in ordered(steps)
        }
        self.watcher = watcher
        self.report = report
        self.futures: dict[Future[bool], Record] = {}

    def run(self) -> list[Record]:
        with ThreadPoolExecutor(max_workers=max(1, len(self.records)), thread_name_prefix="step") as pool:
            try:
                self._loop(pool)
            except BaseException:
                self.cancel.set()
                raise
        failed = [r for r in self.records.values() if r.state is State.FAILED]
        if failed:
            raise StepFailed(failed[0], tail(failed[0].console.path))
        return list(self.records.values())

    def _loop(self, pool: ThreadPoolExecutor) -> None:
        self._start_ready(pool)
        while self.futures:
            done, _ = wait(self.futures, timeout=0.25, return_when=FIRST_COMPLETED)
            for f in done:
                self._finish(self.futures.pop(f), f)
            self._start_ready(pool)
            self.watcher.tick(list(self.records.values()))

    def _start_ready(self, pool: ThreadPoolExecutor) -> None:
        finished = {n for n, r in self.records.items() if r.state in (State.DONE, State.CURRENT)}
        for r in self.records.values():
            if r.state is State.WAITING and self.cancel.is_set():
                r.state = State.STOPPED
            elif r.state is State.WAITING and finished.issuperset(r.step.needs):
                r.state, r.started_s = State.RUNNING, time.monotonic()
                open_log(r.console.path).close()
                self.watcher.changed(r)
                self.futures[pool.submit(_do, r)] = r

    def _finish(self, r: Record, f: Future[bool]) -> None:
        r.seconds = time.monotonic() - r.started_s
        error = f.exception()
        if error is None:
            r.state = State.DONE if f.result() else State.CURRENT
        elif isinstance(error, Cancelled):
            r.state, r.error = State.STOPPED, str(error)
        else:
            # An error that is not ours is a bug or the machine's: its type helps whoever reads the report.
            r.error = str(error) if isinstance(error, LabError) else f"{type(error).__name__}: {error}"
            r.state = State.FAILED
            self.cancel.set()
        self.watcher.changed(r)
        self._write_report()

    def _write_report(self) -> None:
        if self.report is not None and self.report.parent.is_dir():
            write_json(self.report, {"steps": [as_dict(r) for r in self.records.values()]})


def _do(r: Record) -> bool:
    """Runs one step; False when it was current."""
    if r.step.current is not None and r.step.current():
        r.console.say("current: nothing to do")
        return False
    r.step.run(r.console)
    return True


def as_dict(r: Record) -> dict[str, object]:
    return {"name": r.step.name, "state": r.state.value, "seconds": round(r.seconds, 2), "error": r.error}


def write_json(path: Path, data: object) -> None:
    """Replaces ``path`` at once, so that a reader never sees half of it."""
    new = path.with_name(path.name + ".new")
    new.write_text(json.dumps(data, indent=2) + "\n")
    new.replace(path)

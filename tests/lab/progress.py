"""Shows steps as they go: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console as Terminal
from rich.live import Live
from rich.table import Table

from tests.lab.steps import Record, Runner, State, Step, Watcher

STYLE = {State.RUNNING: "cyan", State.DONE: "green", State.CURRENT: "dim", State.FAILED: "bold red"}
STILL_RUNNING_S = 30.0  # how often a plain log says that a long step goes on


class PlainLines:
    """One line when a step starts or ends, and now and then while a long one goes on."""

    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal
        self.begun_s = time.monotonic()
        self.next_s: dict[str, float] = {}

    def _line(self, text: str) -> None:
        self.terminal.print(
            f"{time.monotonic() - self.begun_s:7.1f} s  {text}", highlight=False, markup=False, soft_wrap=True
        )

    def changed(self, record: Record) -> None:
        name = record.step.name
        if record.state is State.RUNNING:
            self.next_s[name] = STILL_RUNNING_S
        elif record.state is State.FAILED:
            self._line(f"{name}: FAILED after {record.seconds:.1f} s")
        elif record.state is State.DONE:
            self._line(f"{name}: {record.seconds:.1f} s")
        elif record.state is State.STOPPED:
            self._line(f"{name}: stopped")

    def tick(self, records: Sequence[Record]) -> None:
        for r in records:
            elapsed = r.elapsed_s()
            if r.state is State.RUNNING and elapsed >= self.next_s.get(r.step.name, STILL_RUNNING_S):
                self.next_s[r.step.name] = elapsed + STILL_RUNNING_S
                self._line(f"{r.step.name}: {elapsed:.0f} s so far ({r.console.note or 'running'})")


class LiveTable:
    """All steps with their states, redrawn in place."""

    def __init__(self, live: Live) -> None:
        self.live = live

    def changed(self, record: Record) -> None:
        """Drawn with the next tick."""

    def tick(self, records: Sequence[Record]) -> None:
        self.live.update(table(records))


def table(records: Sequence[Record]) -> Table:
    t = Table(box=None, pad_edge=False)
    for column, justify in (("step", "left"), ("state", "left"), ("seconds", "right"), ("", "left")):
        t.add_column(column, justify="right" if justify == "right" else "left", no_wrap=True)
    for r in records:
        note = (r.console.note if r.state is State.RUNNING else r.error.split("\n")[0])[:70]
        seconds = f"{r.elapsed_s():.1f}" if r.state is not State.WAITING else ""
        t.add_row(r.step.name, r.state.value, seconds, note, style=STYLE.get(r.state, ""))
    return t


@contextmanager
def watching(terminal: Terminal) -> Iterator[Watcher]:
    if not terminal.is_terminal:
        yield PlainLines(terminal)
        return
    with Live(console=terminal, refresh_per_second=4) as live:
        yield LiveTable(live)


def run_steps(steps: Iterable[Step], log_dir: Path, terminal: Terminal, report: Path | None = None) -> list[Record]:
    """Runs steps with progress on the terminal. ``report`` gets their states and times as JSON as they end.

    Raises: StepFailed, which says what failed, the end of its log, where that is and what to try.
    """
    log_dir.mkdir(parents=True, exist_ok=True)
    with watching(terminal) as watcher:
        return Runner(steps, log_dir, watcher, report).run()

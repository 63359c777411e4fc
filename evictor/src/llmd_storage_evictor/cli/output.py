# SPDX-License-Identifier: Apache-2.0
"""What the commands print: tables on a terminal, tab-separated columns elsewhere, or JSON."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated, Any, NoReturn

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

EXIT_FAILURE, EXIT_USAGE = 1, 2
_PRINT_EVERY_S = 10.0


class OutputFormat(StrEnum):
    """The values of --output."""

    TABLE = "table"
    JSON = "json"


RootArgument = Annotated[
    str,
    typer.Argument(
        envvar="LLMD_KV_ROOT",
        metavar="ROOT",
        help="The cache directory: the connector's root_dir. Or set LLMD_KV_ROOT.",
        show_default=False,
    ),
]
OutputOption = Annotated[OutputFormat, typer.Option("--output", help="table, or json: one JSON object on one line.")]
ThreadsOption = Annotated[int, typer.Option("--threads", min=1, max=128, help="Number of I/O threads.")]
NamespaceOption = Annotated[
    list[str] | None,
    typer.Option("--namespace", help="A namespace: the beginning of its name. May be repeated."),
]


def print_stderr(line: str) -> None:
    """Print to standard error, apart from the result."""
    print(line, file=sys.stderr, flush=True)


def fail(sentence: str, code: int = EXIT_FAILURE) -> NoReturn:
    """Print why, and end the command with this exit code."""
    print_stderr(f"llmd-kv: {sentence}")
    raise typer.Exit(code)


def show_json(value: Mapping[str, Any]) -> None:
    """Print an object as JSON, on one line: later versions may add to it."""
    print(json.dumps(value, default=str), flush=True)


def show_table(columns: Sequence[str], rows: Sequence[Sequence[object]], right: Sequence[str] = ()) -> None:
    """Print a table on a terminal; elsewhere tab-separated columns, for cut and awk. right: columns to align right."""
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            print("\t".join(str(cell) for cell in row))
        return
    table = Table(box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    Console(highlight=False).print(table)


def show_pairs(pairs: Mapping[str, object]) -> None:
    """Print names and values, one pair a line."""
    width = max(map(len, pairs), default=0)
    for name, value in pairs.items():
        print(f"{name:<{width}}  {value}")


class ProgressBar:
    """Progress of a long command."""

    def __init__(self, advance: Any) -> None:
        self._advance = advance

    def advance(self, count: int = 1) -> None:
        """Count steps that are done."""
        self._advance(count)


@contextmanager
def progress(title: str, total: int) -> Iterator[ProgressBar]:
    """A bar on standard error if it is a terminal; elsewhere a line every ten seconds."""
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(title, total=total)
            yield ProgressBar(lambda count: bar.advance(task, count))
        return
    done, printed_at = 0, time.monotonic()

    def advance(count: int) -> None:
        nonlocal done, printed_at
        done += count
        if time.monotonic() - printed_at > _PRINT_EVERY_S:
            printed_at = time.monotonic()
            print_stderr(f"{title}: {done} of {total}")

    yield ProgressBar(advance)

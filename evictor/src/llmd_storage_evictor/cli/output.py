# SPDX-License-Identifier: Apache-2.0
"""What the commands print: tables on a terminal, plain lines elsewhere, JSON when asked for."""

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

FOUND, USAGE = 1, 2
_SAY_EVERY_S = 10.0


class Form(StrEnum):
    """Of the output."""

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
OutputOption = Annotated[Form, typer.Option("--output", help="json: one object, for programs.")]
ThreadsOption = Annotated[int, typer.Option("--threads", min=1, max=128, help="Threads that look at files.")]
NamespaceOption = Annotated[
    list[str] | None, typer.Option("--namespace", help="Beginning of a namespace's name; again for more.")
]


def note(line: str) -> None:
    """For people, beside the result."""
    print(line, file=sys.stderr, flush=True)


def stop(sentence: str, code: int = FOUND) -> NoReturn:
    """Say why, and end with this exit code."""
    note(f"llmd-kv: {sentence}")
    raise typer.Exit(code)


def show_json(value: Any) -> None:
    """One line."""
    print(json.dumps(value, default=str), flush=True)


def show_table(columns: Sequence[str], rows: Sequence[Sequence[object]], right: Sequence[str] = ()) -> None:
    """A table on a terminal; elsewhere, columns divided by tabs, for cut and awk."""
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
    """Names and values, one a line."""
    width = max(map(len, pairs), default=0)
    for name, value in pairs.items():
        print(f"{name:<{width}}  {value}")


class Bar:
    """Progress of a long command."""

    def __init__(self, advance: Any) -> None:
        self._advance = advance

    def step(self, count: int = 1) -> None:
        """So much more is done."""
        self._advance(count)


@contextmanager
def progress(title: str, total: int) -> Iterator[Bar]:
    """A bar on standard error when that is a terminal; elsewhere a line every few seconds."""
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(title, total=total)
            yield Bar(lambda count: bar.advance(task, count))
        return
    done, said = 0, time.monotonic()

    def advance(count: int) -> None:
        nonlocal done, said
        done += count
        if time.monotonic() - said > _SAY_EVERY_S:
            said = time.monotonic()
            note(f"{title}: {done} of {total}")

    yield Bar(advance)

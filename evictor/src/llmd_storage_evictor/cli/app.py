# SPDX-License-Identifier: Apache-2.0
"""Inspect a shared KV cache, and keep it within its budget.

Exit codes: 0 success, 1 something is damaged, different or failed, 2 wrong usage or configuration.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from llmd_storage_evictor import __version__
from llmd_storage_evictor.cli import bench, evict, explain, ls, migrate, output, plan, run, stats, verify
from llmd_storage_evictor.errors import EvictorError, Misconfigured, Unavailable

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)

_COMMANDS: tuple[Callable[..., None], ...] = (
    stats.stats,
    ls.ls,
    verify.verify,
    evict.evict,
    explain.explain,
    plan.plan,
    bench.bench,
    migrate.migrate,
    run.run,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"llmd-kv {__version__}")
        raise typer.Exit


@app.callback(help=__doc__)
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and end.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """What comes before a command."""


for _command in _COMMANDS:
    app.command()(_command)


def main() -> None:
    """The entry point. Known errors are printed as one sentence, without a traceback."""
    try:
        app()
    except (EvictorError, OSError) as error:
        code = output.EXIT_USAGE if isinstance(error, Misconfigured) else output.EXIT_FAILURE
        output.print_stderr(f"llmd-kv: {_message(error)}")
        raise SystemExit(code) from None


def _message(error: Exception) -> str:
    if isinstance(error, Unavailable | Misconfigured) or not isinstance(error, OSError):
        return str(error)
    return f"storage error: {error}"

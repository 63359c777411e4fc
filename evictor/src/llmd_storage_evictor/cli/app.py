# SPDX-License-Identifier: Apache-2.0
"""Look into a shared KV cache, and keep it within its budget.

Exit codes: 0 all is well, 1 something is not (damaged, different, failed), 2 wrong usage or configuration.
"""

from __future__ import annotations

from collections.abc import Callable

import typer

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
for _command in _COMMANDS:
    app.command()(_command)


def main() -> None:
    """The entry point: known errors are a sentence, never a traceback."""
    try:
        app()
    except (EvictorError, OSError) as error:
        code = output.USAGE if isinstance(error, Misconfigured) else output.FOUND
        output.note(f"llmd-kv: {_sentence(error)}")
        raise SystemExit(code) from None


def _sentence(error: Exception) -> str:
    if isinstance(error, Unavailable | Misconfigured) or not isinstance(error, OSError):
        return str(error)
    return f"the storage said: {error}"

# SPDX-License-Identifier: Apache-2.0
"""Look into a shared KV cache, and keep it within its budget.

Exit codes: 0 all is well, 1 something is not (damaged, different, failed), 2 wrong usage or configuration.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from llmd_storage_evictor.cli import keeping, looking, measuring, output
from llmd_storage_evictor.config import parse
from llmd_storage_evictor.errors import EvictorError, Misconfigured, Unusable

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)

_COMMANDS: tuple[Callable[..., None], ...] = (
    looking.stats,
    looking.ls,
    keeping.verify,
    keeping.evict,
    looking.explain,
    measuring.plan,
    measuring.bench,
    keeping.migrate,
)
for _command in _COMMANDS:
    app.command()(_command)


@app.command()
def run(
    config: Annotated[Path, typer.Option("--config", help="JSON or YAML (schemas/evictor-config.schema.json).")],
    leader_election: Annotated[
        bool | None, typer.Option("--leader-election/--no-leader-election", help="Overrides leader_election.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and write nothing.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Log more.")] = False,
) -> None:
    """The evictor: keeps the cache within its budget until it is told to end.

    Example: llmd-kv run --config evictor.yaml --no-leader-election
    """
    from llmd_storage_evictor import logs
    from llmd_storage_evictor.run import run as run_until_told

    try:
        raw: Any = yaml.safe_load(config.read_text(encoding="utf-8")) or {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        output.stop(f"--config {config} cannot be read: {error}", output.USAGE)
    if isinstance(raw, dict):
        raw |= {} if leader_election is None else {"leader_election": leader_election}
        raw |= {"dry_run": True} if dry_run else {}
    logs.set_up(logging.DEBUG if debug else logging.INFO)
    run_until_told(parse(raw))


def main() -> None:
    """The entry point: known errors are a sentence, never a traceback."""
    try:
        app()
    except (EvictorError, OSError) as error:
        code = output.USAGE if isinstance(error, Misconfigured) else output.FOUND
        output.note(f"llmd-kv: {_sentence(error)}")
        raise SystemExit(code) from None


def _sentence(error: Exception) -> str:
    if isinstance(error, Unusable | Misconfigured) or not isinstance(error, OSError):
        return str(error)
    return f"the storage said: {error}"

# SPDX-License-Identifier: Apache-2.0
"""llmd-kv run: the evictor."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from llmd_storage_evictor.cli import output
from llmd_storage_evictor.config import parse


def run(
    config: Annotated[Path, typer.Option("--config", help="JSON or YAML (schemas/evictor-config.schema.json).")],
    leader_election: Annotated[
        bool | None,
        typer.Option("--leader-election/--no-leader-election", help="Overrides leader_election."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Log what would be removed; write nothing.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Debug logs.")] = False,
) -> None:
    """Run the evictor: keep the cache within its budget, until SIGTERM.

    Example: llmd-kv run --config evictor.yaml --no-leader-election
    """
    from llmd_storage_evictor.service import logs
    from llmd_storage_evictor.service.process import run as run_until_signal

    try:
        raw: Any = yaml.safe_load(config.read_text(encoding="utf-8")) or {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        output.fail(f"--config {config} cannot be read: {error}", output.EXIT_USAGE)
    if isinstance(raw, dict):
        raw |= {} if leader_election is None else {"leader_election": leader_election}
        raw |= {"dry_run": True} if dry_run else {}
    logs.set_up(logging.DEBUG if debug else logging.INFO)
    run_until_signal(parse(raw))

"""Runs parts of the acceptance and keeps what each came to: python -m tests.acceptance --help."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from tests import results
from tests.acceptance import record
from tests.acceptance.parts import BY_NAME, PARTS, Part
from tests.lab.paths import engine_python
from tests.with_lab import lab_up

ROOT = record.ROOT
OUT = ROOT / "build" / "acceptance"
PYTHON = Path(sys.executable)
EXAMPLES = """Long and heavy proofs, each with a record in docs/acceptance.json.

Examples:

    make acceptance                              # the parts without a green record of the present code

    make acceptance ARGS="argocd istio"          # these, whatever their record says

    make acceptance ARGS="--list"                # all parts, and how they stand
"""


def call(argv: list[str], environment: dict[str, str] | None = None) -> bool:
    print(f"$ {' '.join(argv)}", flush=True)
    return subprocess.run(argv, cwd=ROOT, env={**os.environ, **(environment or {})}, check=False).returncode == 0


def lab(*words: str) -> bool:
    return call([str(PYTHON), "-m", "tests.lab", *words])


def run(part: Part) -> results.Outcome:
    """Blocks for the part's minutes. A lab that was up before stays up."""
    began = time.monotonic()
    report = OUT / f"{part.name}.xml"
    report.unlink(missing_ok=True)
    ended_well = (not part.build or lab("build", part.build)) and tested(part, report)
    counts, failures, figures = results.read(report, ended_well)
    return results.Outcome(part.name, counts, time.monotonic() - began, failures, figures)


def tested(part: Part, report: Path) -> bool:
    argv, environment = pytest(part, report), {**part.environment, **paths(part)}
    if not part.lab:
        return call(argv, environment)
    with lab_up(lab) as well:
        return well and call(argv, environment)


def pytest(part: Part, report: Path) -> list[str]:
    python = engine_python() if part.engine else PYTHON
    # Engines' logs, where they can be found after a failure.
    kept = [f"--basetemp={OUT / 'tmp' / part.name}"] if part.engine else []
    return [str(python), "-m", "pytest", "-q", "--tb=short", "-s", f"--junitxml={report}", *kept, *part.tests]


def paths(part: Part) -> dict[str, str]:
    before = [part.before] if part.before else []
    ours = [f"{ROOT}/core/src", f"{ROOT}/connector/src", str(ROOT)]
    return {"PYTHONPATH": ":".join([*before, *ours])} if part.engine else {}


def wanted(names: list[str], again: bool) -> list[Part]:
    if unknown := [name for name in names if name not in BY_NAME]:
        typer.echo(f"there is no part {unknown[0]!r}; the parts are: {' '.join(BY_NAME)}", err=True)
        raise typer.Exit(2)
    if names:
        return [BY_NAME[name] for name in names]
    records = record.read()
    # What is quick comes first: a mistake shows early.
    return sorted((p for p in PARTS if again or not record.is_current(p, records)), key=lambda p: p.minutes)


def listed() -> None:
    records = record.read()
    for part in PARTS:
        one = records.get(part.name)
        how = "never run" if one is None else f"{one['result']} {one['date']}"
        if one is not None and not record.is_current(part, records) and one["result"] == "passed":
            how += ", its code changed since"
        typer.echo(f"{part.name:11} {part.minutes:4} min  {how:40} {part.proves}")


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Parts; none: those without a green record.")] = None,
    again: Annotated[bool, typer.Option("--again", help="All parts, whatever their record says.")] = False,
    list_parts: Annotated[bool, typer.Option("--list", help="Only say which parts there are.")] = False,
    page: Annotated[bool, typer.Option("--page", help="Only make docs/acceptance.md anew.")] = False,
) -> None:
    if list_parts:
        return listed()
    if page:
        return record.write(record.read())
    todo = wanted(names or [], again)
    if not todo:
        typer.echo("every part has a green record of the present code; --again runs them all the same")
        return
    (OUT / "tmp").mkdir(parents=True, exist_ok=True)
    outcomes = []
    for number, part in enumerate(todo, 1):
        typer.echo(f"[{number}/{len(todo)}] {part.name}, about {part.minutes} min: {part.proves}")
        state, code = results.state_of(ROOT, *record.MADE), record.digest(part)
        outcome = run(part)
        outcomes.append(outcome)
        record.write(record.read() | {part.name: record.entry(part, outcome, state, code)})
        typer.echo(outcome.line())
    typer.echo("\n" + results.told(outcomes))
    if any(one.counts.failed or not one.counts.passed for one in outcomes):
        raise typer.Exit(1)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(help=EXAMPLES)(main)
    app()

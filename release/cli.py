"""The commands of a release: python -m release --help."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from image.debian import BaseError
from image.wheels import ROOT
from release import build as builder
from release import push as pusher
from release.programs import ReleaseError

OUT = ROOT / "build" / "release"
EXAMPLES = """A release of llm-d-storage: image, wheels, chart, list of parts, checksums, signature. docs/release.md

Examples:

    make release                                            # into build/release, not signed

    make release RELEASE_KEY=~/.ssh/release_ed25519         # signed

    python -m release push registry.example.com/llm         # image and chart

    python -m release push localhost:5000 --plain-http
"""
app = typer.Typer(help=EXAMPLES, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
Helm = Annotated[str, typer.Option(help="Helm 3.18 or later.", envvar="HELM")]


def attempt(act: Callable[[], None]) -> None:
    try:
        act()
    except (ReleaseError, BaseError) as error:
        fail(str(error))


def fail(sentence: str) -> NoReturn:
    typer.secho(sentence, fg="red", err=True)
    raise typer.Exit(1)


@app.command()
def build(
    out: Annotated[Path, typer.Option(help="Where it comes; what is there is replaced.")] = OUT,
    key: Annotated[
        Path | None, typer.Option(envvar="RELEASE_KEY", help="A key of ssh, or a public one that an agent holds.")
    ] = None,
    helm: Helm = "helm",
    allow_changes: Annotated[bool, typer.Option(help="Also from a checkout with changes: a trial.")] = False,
) -> None:
    """Make a release from this checkout's commit. The same commit gives the same bytes."""
    key = key.expanduser() if key else None  # not every shell does it behind make's `=`
    attempt(lambda: builder.build(out, helm=helm, key=key, allow_changes=allow_changes, say=typer.echo))


@app.command()
def push(
    registry: Annotated[str, typer.Argument(help="Host and path, such as registry.example.com/llm.")],
    folder: Annotated[Path, typer.Option("--from", help="What `build` made.")] = OUT,
    helm: Helm = "helm",
    crane: Annotated[str, typer.Option(help="crane, of go-containerregistry.", envvar="CRANE")] = "crane",
    plain_http: Annotated[bool, typer.Option("--plain-http", help="The registry has no TLS.")] = False,
) -> None:
    """Put a release into a registry: image and chart."""
    attempt(lambda: pusher.push(folder, registry, crane=crane, helm=helm, plain_http=plain_http, say=typer.echo))

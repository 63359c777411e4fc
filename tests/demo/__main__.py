"""``make demo``: from a bare machine to a proven shared prefix cache."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console as Terminal

from tests.demo.install import Demo
from tests.demo.report import build, table, write
from tests.lab.cluster import target
from tests.lab.errors import LabError
from tests.lab.paths import REPO, lab
from tests.lab.progress import watching
from tests.lab.steps import Runner

CHART = REPO / "charts" / "llm-d-storage"
EXAMPLES = """Examples:

  make demo                                   the lab: two nodes and CephFS on this machine

  KUBECONFIG=~/.kube/config python -m tests.demo --values my.yaml     a cluster of yours; nothing below the chart
"""


def main(
    values: Annotated[Path, typer.Option(help="Values file of the release.")] = CHART / "ci" / "lab.yaml",
    document: Annotated[Path, typer.Option(help="The text that is the prompt.")] = REPO / "LICENSE",
    release: Annotated[str, typer.Option(help="Name of the release.")] = "demo",
    namespace: Annotated[str, typer.Option(help="Its namespace; made when missing.")] = "llm-d-demo",
) -> None:
    """Brings up a cluster if none is given, installs the chart, and proves a hit from shared storage."""
    terminal = Terminal()
    begun = time.monotonic()
    try:
        if target(start=False).is_lab:
            terminal.print("[bold]1. The lab[/bold]: two nodes, CephFS, images (a cold start compiles Kubernetes)")
            # A process of its own, so that its progress and its failure text stand here as they are.
            if subprocess.run([sys.executable, "-m", "tests.lab", "up"], cwd=REPO, check=False).returncode != 0:
                raise typer.Exit(1)
        found = target(start=False)
        if found.kubeconfig is None:
            raise LabError("there is no cluster: the lab did not come up, and KUBECONFIG is not set")
        terminal.print("[bold]2. The chart[/bold]: helm install with preflight, probe and proof; then the document")
        demo = Demo(found, CHART, values, document, release, namespace)
        with watching(terminal) as watcher:
            records = Runner(demo.steps(), lab().log if found.is_lab else REPO / "build" / "log", watcher).run()
    except LabError as error:
        terminal.print(str(error), style="red", markup=False, highlight=False)
        raise typer.Exit(1) from None
    report = build(demo, records, found.is_lab, time.monotonic() - begun)
    path = write(report, REPO / "build" / "demo-report.json")
    terminal.print(table(report))
    terminal.print(f"the same as JSON: {path.relative_to(REPO)}", highlight=False)
    terminal.print(demo.where_to_look(), highlight=False, markup=False, soft_wrap=True)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(epilog=EXAMPLES)(main)
    app()

# SPDX-License-Identifier: Apache-2.0
"""Where a report goes: the terminal, the termination message, the ConfigMap."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from llmd_storage_hooks.collect.kube import Kube, KubeApi
from llmd_storage_hooks.errors import CollectError, NotFound
from llmd_storage_hooks.report import Report, headline, termination_message, to_json, worst_first
from llmd_storage_hooks.verdicts import Verdict

_STYLES = {
    Verdict.PASS: "green",
    Verdict.WARN: "yellow",
    Verdict.FAIL: "bold red",
    Verdict.INCONCLUSIVE: "magenta",
    Verdict.SKIPPED: "dim",
}
_LOG_WIDTH = 140  # a pod's log has no width of its own


def say(line: str) -> None:
    """A progress line. Logs are read while they grow, so it is flushed at once."""
    print(line, flush=True)


def show(report: Report, output: str) -> None:
    """The table for people, and with `json` the whole report as the last line."""
    terminal = sys.stdout.isatty()
    console = Console(width=None if terminal else _LOG_WIDTH, no_color=not terminal, highlight=False)
    console.print()
    console.print(_table(report, plain=not terminal))
    numbers = {key: value for key, value in report.numbers.items() if not isinstance(value, dict | list)}
    if numbers:
        console.print(Text("numbers: " + ", ".join(f"{key}={value}" for key, value in numbers.items())))
    console.print(Text(headline(report), style=_STYLES[report.verdict]))
    if output == "json":
        print(json.dumps(to_json(report), sort_keys=True), flush=True)


def _table(report: Report, plain: bool) -> Table:
    table = Table(box=box.ASCII2 if plain else box.SIMPLE_HEAD, show_lines=False, expand=False)
    table.add_column("verdict", no_wrap=True)
    table.add_column("check", no_wrap=True)
    table.add_column("what was found, and what to do")
    for one in worst_first(report):
        said = Text(one.sentence)
        if one.verdict not in (Verdict.PASS, Verdict.SKIPPED):
            said.append(f"\n-> {one.remedy}" if one.remedy else "", style="bold")
            said.append(f"\n   {one.link}" if one.link else "", style="dim")
        table.add_row(Text(one.verdict.value, style=_STYLES[one.verdict]), one.id, said)
    return table


def write_termination_message(report: Report) -> None:
    """For `kubectl describe pod`. Outside a pod there is no such file, and that is fine."""
    path = os.environ.get("TERMINATION_LOG", "/dev/termination-log")
    if not os.path.exists(path):
        return
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(termination_message(report))
    except OSError as error:
        say(f"warning: could not write the termination message to {path}: {error}")


def write_config_map(report: Report, name: str, kube: KubeApi | None = None) -> None:
    """The whole report into key `<hook>.json`. A failure is said, and never changes the verdict."""
    if not name:
        return
    body: dict[str, Any] = {"data": {f"{report.hook}.json": json.dumps(to_json(report), sort_keys=True)}}
    path = f"/api/v1/namespaces/{report.namespace}/configmaps/{name}"
    try:
        (kube or Kube.connect()).merge_patch(path, body)
    except NotFound:
        # Before the first install the chart's ConfigMap is not there yet.
        say(f"note: ConfigMap {name} does not exist (yet), so the report is only in this log.")
    except CollectError as error:
        say(f"warning: could not write the report to ConfigMap {name}: {error}")

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

from llmd_storage_hooks.core.errors import CollectError, NotFound
from llmd_storage_hooks.core.kube.api import Kube, KubeApi
from llmd_storage_hooks.core.report import Report, headline, termination_message, to_json, to_junit, worst, worst_first
from llmd_storage_hooks.core.verdicts import Finding, Verdict

FAILURE = "llm-d-storage/failure"

_STYLES = {
    Verdict.PASS: "green",
    Verdict.WARN: "yellow",
    Verdict.FAIL: "bold red",
    Verdict.INCONCLUSIVE: "magenta",
    Verdict.SKIPPED: "dim",
}


def say(line: str) -> None:
    """A progress line. Logs are read while they grow, so it is flushed at once."""
    print(line, flush=True)


def show(report: Report, output: str) -> None:
    """A table on a terminal, a line a check elsewhere; with `json` or `junit` the whole report as the last line."""
    terminal = sys.stdout.isatty()
    console = Console(no_color=not terminal, highlight=False, soft_wrap=not terminal)
    if terminal:
        console.print()
        console.print(_table(report))
    else:
        # Helm passes a hook's log on as one escaped line, in which a table's frame is noise; and who reads a log
        # reads its end, so the worst comes last.
        for finding in reversed(worst_first(report)):
            console.print(Text(_line(finding)))
    numbers = {key: value for key, value in report.numbers.items() if not isinstance(value, dict | list)}
    if numbers:
        console.print(Text("numbers: " + ", ".join(f"{key}={value}" for key, value in numbers.items())))
    console.print(Text(headline(report), style=_STYLES[report.verdict]))
    if output == "json":
        print(json.dumps(to_json(report), sort_keys=True), flush=True)
    if output == "junit":
        print(to_junit(report), flush=True)


def _needs_action(finding: Finding) -> bool:
    return finding.verdict not in (Verdict.PASS, Verdict.SKIPPED)


def _line(finding: Finding) -> str:
    verdict = finding.verdict.value
    line = f"{verdict.upper() if _needs_action(finding) else verdict} {finding.id}: {finding.sentence}"
    if _needs_action(finding):
        line += f" -> {finding.remedy}" if finding.remedy else ""
        line += f" ({finding.link})" if finding.link else ""
    return line


def _table(report: Report) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_lines=False, expand=False)
    table.add_column("verdict", no_wrap=True)
    table.add_column("check", no_wrap=True)
    table.add_column("what was found, and what to do")
    for finding in worst_first(report):
        text = Text(finding.sentence)
        if _needs_action(finding):
            text.append(f"\n-> {finding.remedy}" if finding.remedy else "", style="bold")
            text.append(f"\n   {finding.link}" if finding.link else "", style="dim")
        table.add_row(Text(finding.verdict.value, style=_STYLES[finding.verdict]), finding.id, text)
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


def annotate_job(report: Report, name: str, kube: KubeApi | None = None) -> None:
    """Why the hook fails, on its own Job. A failure is printed, and never changes the verdict.

    A Job's status says only that it failed. What reads Jobs and not logs (Argo CD, by examples/argocd) finds it here.
    """
    if not name:
        return
    path = f"/apis/batch/v1/namespaces/{report.namespace}/jobs/{name}"
    try:
        (kube or Kube.connect()).merge_patch(path, {"metadata": {"annotations": {FAILURE: worst(report)}}})
    except CollectError as error:
        say(f"note: could not write on Job {name} why it fails: {error}")


def write_config_map(report: Report, name: str, kube: KubeApi | None = None) -> None:
    """The whole report into key `<hook>.json`. A failure is printed, and never changes the verdict."""
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

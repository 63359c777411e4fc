"""The results as a table on the terminal, as JSON, and as a page with plots."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench.rows import Row
from tests.bench.why import why

TITLES = {
    "loads": "Loading",
    "stores": "Storing",
    "lookups": "Looking up",
    "checksum": "Checksums",
    "cpu": "CPU time",
    "memory": "Memory",
    "publishing": "Publishing",
    "interpreter": "Beside the scheduler",
    "serving": "Serving",
}


_HOW = """Made by `make bench`; do not edit. Ours, vLLM's stock file tier and fio took turns in one run, on the same
mount, with the same sizes and the same state of the page cache. The figures are medians; a ratio is the median of the
ratios repeat by repeat. [bench.json](bench.json) has the spread and the command of every row,
[bench-raw.json](bench-raw.json) every single figure.

- *2 ms a call*: a FUSE filesystem over the local disk ([tests/faultfs](../../tests/faultfs)) that waits 2 ms before
  each call and lets the kernel keep nothing; what is behind it is in memory.
- *limit*: fio's best, or the stock tier where that is quicker, where nothing else is said. fio writes without fsync and
  under the final name.
- *stock*: vLLM's own file tier. It is driven directly, by the calls that vLLM's scheduler makes, as ours is."""


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    info = Path("/proc/cpuinfo").read_text()
    model = next((line.split(":", 1)[1].strip() for line in info.splitlines() if line.startswith("model name")), "")
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpus": os.cpu_count(),
        "cpu": model or platform.machine(),
        "memory_gib": round(pages / (1 << 30), 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_average_before": round(os.getloadavg()[0], 1),
    }


def number(value: float | None) -> str:
    """Three figures that matter, without an exponent."""
    if value is None:
        return "-"
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}" if abs(value) >= 0.001 else f"{value:.1g}"


def verdict(met: bool | None) -> str:
    return {True: "met", False: "**not met**", None: "-"}[met]


def distance(row: Mapping[str, Any]) -> str:
    """What was reached of the target, in the target's own terms."""
    if row["target"] is None:
        return "-" if row["ratio"] is None else f"{number(row['ratio'])} x"
    if "x" in row["target"]:
        return f"{number(row['ratio'])} x"
    return f"{number(row['ours'])} {row['unit']}"


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown; also what is printed."""
    lines = [
        "| what | unit | ours (min-max) | stock | limit | reached | target | verdict |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- | --- |",
    ]
    for row in rows:
        spread = row["spread"]["ours"]
        range_ = (
            f" ({number(spread['min'])}-{number(spread['max'])})" if spread and spread["min"] != spread["max"] else ""
        )
        cells = [
            row["name"],
            row["unit"],
            number(row["ours"]) + range_,
            number(row["stock"]),
            number(row["limit"]),
            distance(row),
            row["target"] or "for information",
            verdict(row["met"]),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def summary(rows: Sequence[Mapping[str, Any]]) -> str:
    judged = [row["met"] for row in rows if row["target"]]
    return f"{judged.count(True)} of {len(judged)} targets met"


def write_json(
    rows: Sequence[Row], raw: list[dict[str, Any]], failures: Mapping[str, str], about: Mapping[str, Any], folder: Path
) -> None:
    """bench.json, and every single figure in bench-raw.json."""
    result = {"machine": dict(about), "failures": dict(failures), "rows": [row.as_json() for row in rows]}
    write_result(result, raw, folder)


def write_result(result: Mapping[str, Any], raw: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """The two files, of what is JSON already."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, whole in (("bench.json", result), ("bench-raw.json", raw)):
        (folder / name).write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")


def latest(runs: Sequence[Sequence[Mapping[str, Any]]], by: str) -> list[Mapping[str, Any]]:
    """What is in several runs, in order of its first appearance; what is equal in `by` comes from the last of them."""
    newest: dict[str, list[Mapping[str, Any]]] = {}
    for run in runs:
        found: dict[str, list[Mapping[str, Any]]] = {}
        for one in run:
            found.setdefault(one[by], []).append(one)
        newest |= found
    return [one for found in newest.values() for one in found]


def merged(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Several runs as one result, on the first one's machine and all their processors. Failures are the last run's."""
    rows = latest([result["rows"] for result in results], "name")
    machines = [result["machine"] for result in results]
    processors = dict.fromkeys(name for one in machines for name in one["cpu"].split(", "))
    runs = sum(one.get("runs", 1) for one in machines)
    machine = {**machines[0], "cpu": ", ".join(processors), "runs": runs}
    return {"machine": machine, "failures": results[-1]["failures"], "rows": rows}


def _missed(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a page begins with."""
    missed = [row for row in rows if row["met"] is False]
    if not missed:
        return []
    lines = ["| missed | reached | target | why |", "| --- | --- | --- | --- |"]
    said: set[str] = set()
    for row in missed:
        text = why(row["name"])
        lines.append(f"| {row['name']} | {distance(row)} | {row['target']} | {'see above' if text in said else text} |")
        said.add(text)
    return ["## What is missed, and why", "\n".join(lines)]


def page(result: Mapping[str, Any], plots: Mapping[str, str]) -> str:
    """docs/benchmarks/README.md. plots: {group: file name}."""
    about, rows = result["machine"], result["rows"]
    quick = ", a quick run with few repeats" if about.get("quick") else ""
    runs = f" Rows are from {about['runs']} runs, each from one." if about.get("runs", 1) > 1 else ""
    parts = [
        "# Benchmarks",
        _HOW,
        f"On {about['cpus']} cores ({about['cpu']}), {about['memory_gib']} GiB, Linux {about['kernel']}, "
        f"Python {about['python']}; load average {about['load_average_before']} before the run{quick}. "
        f"A virtual machine: read the ratios, not the seconds.{runs}",
        f"**{summary(rows)}.**",
        *_missed(rows),
    ]
    for group, title in TITLES.items():
        of_group = [row for row in rows if row["group"] == group]
        if not of_group:
            continue
        parts += [f"## {title}", table(of_group)]
        if group in plots:
            parts.append(f"![{title}]({plots[group]})")
        notes = [f"- {row['name']}: {row['note']}." for row in of_group if row["note"]]
        parts += ["\n".join(notes)] if notes else []
    if result["failures"]:
        parts += ["## Not measured", "\n".join(f"- {name}: {why}" for name, why in result["failures"].items())]
    return "\n\n".join(parts) + "\n"

"""What the demo showed, as a table and as JSON (schemas/demo-report.schema.json)."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

from rich.table import Table

from tests.demo.install import Demo
from tests.lab.paths import lab
from tests.lab.steps import Record, as_dict


def build(demo: Demo, records: list[Record], is_lab: bool, total_s: float) -> dict[str, Any]:
    proof = dict(demo.document_report["proof"])
    proof["speedup"] = round(proof["ttftColdSeconds"] / proof["ttftWarmSeconds"], 2)
    steps = [_step("demo", as_dict(r)) for r in records]
    if is_lab and lab().steps_file.exists():
        steps = [_step("lab", s) for s in json.loads(lab().steps_file.read_text())["steps"]] + steps
    return {
        "schemaVersion": "1",
        "finishedAt": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "lab": is_lab,
        "release": demo.release,
        "namespace": demo.namespace,
        "document": demo.document.name,
        "proof": proof,
        "hooks": {h: r["verdict"] for h in ("probe", "proof") if (r := demo.hook_report(h))},
        "steps": steps,
        "totalSeconds": round(total_s, 1),
    }


def _step(part: str, step: dict[str, Any]) -> dict[str, Any]:
    return {"part": part, "name": step["name"], "state": step["state"], "seconds": step["seconds"]}


def write(report: dict[str, Any], path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n")
    return path


def table(report: dict[str, Any]) -> Table:
    p = report["proof"]
    t = Table(title=f"{report['document']}: prefilled by pod A, answered by pod B from shared storage", box=None)
    t.add_column("")
    t.add_column("", justify="right")
    rows = [
        ("pod A (node)", f"{p['podA']} ({p['nodeA']})"),
        ("pod B (node)", f"{p['podB']} ({p['nodeB']})"),
        ("time to first token, cold (A)", f"{p['ttftColdSeconds']:.2f} s"),
        (
            "time to first token, warm (B)",
            f"{p['ttftWarmSeconds']:.2f} s  ({p['speedup']:.1f} times as fast)",
        ),
        ("tokens of the prompt", f"{p['promptTokens']}"),
        ("tokens reused by B", f"{p['reusedTokens']}  ({p['reusedFraction']:.1%} of the full blocks)"),
        ("where B had them from", str(p["source"])),
        ("B's answer equals A's", "yes" if p["tokensEqual"] else "NO"),
        ("read from storage by B", f"{p['bytesRead'] / 2**20:.1f} MiB"),
        ("hooks of the install", ", ".join(f"{k} {v}" for k, v in report["hooks"].items())),
        ("time in all", f"{report['totalSeconds']:.0f} s"),
    ]
    for row in rows:
        t.add_row(*row)
    return t

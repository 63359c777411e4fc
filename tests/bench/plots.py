"""The page of a run: its table, its pictures (SVG), and the JSON behind them.

    .venv/bin/python -m tests.bench.plots build/bench.json ... docs/benchmarks

Of several runs, a row is the last one's that has it.

In a step of its own, with the development environment: the one with vLLM has nothing to draw with.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench.report import TITLES, latest, merged, page, write_result

_SIDES = {"ours": "#1a7f5a", "stock": "#b0652a", "limit": "#7a7f87"}
_LABELS = {"ours": "ours", "stock": "vLLM's stock tier", "limit": "limit"}


def draw(rows: Sequence[Mapping[str, Any]], folder: Path) -> dict[str, str]:
    """Returns: {group: file name} of what was drawn."""
    import matplotlib

    matplotlib.use("svg")
    # Text stays text, and two runs with the same figures give the same bytes.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "bench", "font.size": 9})
    drawn = {}
    for group in TITLES:
        of_group = [row for row in rows if row["group"] == group and not row["name"].endswith("times stock")]
        if len(of_group) < 2 and not any(row["stock"] or row["limit"] for row in of_group):
            continue
        name = f"{group}.svg"
        _bars(of_group, folder / name)
        drawn[group] = name
    return drawn


def _bars(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Every row as bars relative to the row's largest median, so that units do not matter; whiskers: min and max."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 0.6 + 0.75 * len(rows)))
    for place, row in enumerate(reversed(rows)):
        present = [side for side in _SIDES if row[side] is not None]
        top = max(row[side] for side in present) or 1.0
        for step, side in enumerate(reversed(present)):
            spread, at = row["spread"][side], place + (step - (len(present) - 1) / 2) * 0.26
            axes.barh(at, row[side] / top, height=0.24, color=_SIDES[side])
            axes.plot([spread["min"] / top, spread["max"] / top], [at, at], color="black", linewidth=0.8)
            axes.text(max(row[side], spread["max"]) / top + 0.01, at, f"{row[side]:.3g} {row['unit']}", va="center")
    axes.set_yticks(range(len(rows)), [row["name"] for row in reversed(rows)])
    axes.set_xticks([])
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    handles = [pyplot.Rectangle((0, 0), 1, 1, color=color) for color in _SIDES.values()]
    axes.legend(handles, _LABELS.values(), loc="upper center", bbox_to_anchor=(0.3, -0.02), ncols=3, frameon=False)
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    pyplot.close(figure)


def main(*words: str) -> None:
    if len(words) < 2:
        sys.exit("plots: needs a bench.json or more, and the folder of the page")
    *sources, folder = words
    results = [json.loads(Path(source).read_text()) for source in sources]
    raws = [json.loads(Path(source).with_name("bench-raw.json").read_text()) for source in sources]
    target = Path(folder)
    result = merged(results)
    write_result(result, latest(raws, "case"), target)
    (target / "README.md").write_text(page(result, draw(result["rows"], target)))


if __name__ == "__main__":
    main(*sys.argv[1:])

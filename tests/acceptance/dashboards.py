"""Pictures of the dashboards: each panel's queries, asked of a real Prometheus, drawn where Grafana would draw them.

Grafana itself is in no package registry here, so these are no screenshots of it. The acceptance part "metrics" writes
them, and the page that shows them, into docs/pictures/dashboards.
"""

from __future__ import annotations

import io
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, nan
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FILES = tuple(sorted((ROOT / "charts" / "llm-d-storage" / "files" / "dashboards").glob("*.json")))
FOLDER = ROOT / "docs" / "pictures" / "dashboards"
COLOURS = ("#1a7f5a", "#b0652a", "#3b5fa0", "#8a4fa0", "#a08000", "#7a7f87")
# One cell of Grafana's grid of 24 columns, in inches.
CELL_WIDTH, CELL_HEIGHT = 0.52, 0.3
SAID = 6  # series that a legend names; more would cover the panel
_LABEL = re.compile(r"{{(\w+)}}")


@dataclass(frozen=True)
class Series:
    """One line of a panel: its name in the legend, and (time in s, value); a gap is not a number."""

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Query:
    expr: str
    legend: str
    instant: bool


def queries(panel: Mapping[str, Any], macros: Mapping[str, str]) -> Iterator[Query]:
    """A panel's queries with what Grafana would put in. macros: {"$namespace": "inference", ...}."""
    for target in panel.get("targets", []):
        expr = target["expr"]
        for macro, value in macros.items():
            expr = expr.replace(macro, value)
        yield Query(expr, target["legendFormat"], bool(target.get("instant")))


def series(result: Sequence[Mapping[str, Any]], legend: str) -> list[Series]:
    """Of a Prometheus answer, a vector or a matrix."""
    return [_series(one, legend) for one in result]


def _series(one: Mapping[str, Any], legend: str) -> Series:
    name = _LABEL.sub(lambda label: str(one["metric"].get(label[1], "")), legend)
    values = one["values"] if "values" in one else [one["value"]]
    return Series(name, tuple((float(at), _number(value)) for at, value in values))


def _number(text: str) -> float:
    value = float(text)
    return value if isfinite(value) else nan


def asked(
    dashboard: Mapping[str, Any], macros: Mapping[str, str], ask: Callable[[Query], Sequence[Mapping[str, Any]]]
) -> dict[str, list[Series]]:
    """{panel's title: its series}. ask: gives what Prometheus answers to a query."""
    return {
        panel["title"]: [one for query in queries(panel, macros) for one in series(ask(query), query.legend)]
        for panel in dashboard["panels"]
        if panel["type"] != "row"
    }


def in_unit(value: float, unit: str) -> str:
    """As Grafana would write it, by its name of the unit."""
    if value != value:
        return ""
    if unit == "percentunit":
        return f"{100 * value:.3g} %"
    if unit in ("bytes", "Bps"):
        step = next((i for i in (3, 2, 1) if abs(value) >= 1024**i), 0)
        return f"{value / 1024**step:.3g} {('B', 'KiB', 'MiB', 'GiB')[step]}{'/s' if unit == 'Bps' else ''}"
    if unit == "s" and 0 < abs(value) < 1:
        return f"{1000 * value:.3g} ms"
    return f"{value:.4g}" + {"s": " s", "ops": " /s"}.get(unit, "")


def draw(dashboard: Mapping[str, Any], answers: Mapping[str, Sequence[Series]], begin: float) -> str:
    """The dashboard as one SVG. begin: when the run began, the zero of every panel's time."""
    import matplotlib

    matplotlib.use("svg")
    # Text stays text, and equal answers give equal bytes.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "dashboards", "font.size": 7})
    from matplotlib import pyplot

    panels = dashboard["panels"]
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    figure = pyplot.figure(figsize=(24 * CELL_WIDTH, rows * CELL_HEIGHT))
    for panel in panels:
        place = panel["gridPos"]
        left, top = place["x"] / 24, 1 - place["y"] / rows
        if panel["type"] == "row":
            figure.text(left + 0.005, top - 0.5 / rows, panel["title"], weight="bold", va="center", size=9)
            continue
        # Room for the title above, and for the numbers at the left and below.
        box = (left + 0.045, top - (place["h"] - 1.3) / rows, place["w"] / 24 - 0.055, (place["h"] - 2.6) / rows)
        _panel(figure.add_axes(box), panel, answers[panel["title"]], begin)
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    pyplot.close(figure)
    return text.getvalue()


def _panel(axes: Any, panel: Mapping[str, Any], lines: Sequence[Series], begin: float) -> None:
    unit = panel["fieldConfig"]["defaults"]["unit"]
    axes.set_title(panel["title"], loc="left", size=6.5 if panel["type"] == "stat" else 8)
    if not any(value == value for line in lines for _, value in line.points):
        axes.text(0.5, 0.5, "no data", ha="center", va="center", transform=axes.transAxes)
        axes.set_axis_off()
    elif panel["type"] == "stat":
        text = in_unit(lines[0].points[-1][1], unit)
        axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, size=16, color=COLOURS[0])
        axes.set_axis_off()
    else:
        (_states if panel["type"] == "state-timeline" else _lines)(axes, panel, lines, begin)
        axes.margins(x=0)
        axes.set_xlabel("s", labelpad=0)


def _lines(axes: Any, panel: Mapping[str, Any], lines: Sequence[Series], begin: float) -> None:
    from matplotlib.ticker import FuncFormatter

    unit = panel["fieldConfig"]["defaults"]["unit"]
    stacked = panel["fieldConfig"]["defaults"]["custom"]["stacking"]["mode"] == "normal"
    below: dict[float, float] = {}
    for number, line in enumerate(lines):
        times = [at - begin for at, _ in line.points]
        base = [below.get(at, 0.0) if stacked else 0.0 for at, _ in line.points]
        values = [value + under for (_, value), under in zip(line.points, base, strict=True)]
        colour = COLOURS[number % len(COLOURS)]
        axes.plot(times, values, color=colour, linewidth=1, label=line.name if number < SAID else None)
        axes.fill_between(times, base, values, color=colour, alpha=0.1)
        if stacked:
            below |= {at: value for (at, _), value in zip(line.points, values, strict=True) if value == value}
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: in_unit(value, unit)))
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", fontsize=6, framealpha=0.6)


def _states(axes: Any, panel: Mapping[str, Any], lines: Sequence[Series], begin: float) -> None:
    """A bar for each series: dark where it is on, pale where it is off, nothing where nothing is known."""
    for number, line in enumerate(lines):
        runs = [(on, next(points)[0]) for on, points in itertools.groupby(line.points, key=_is_on)]
        ends = [at for _, at in runs[1:]] + [line.points[-1][0]]
        for wanted, colour in ((True, "#7fc4a6"), (False, "#dcdfe3")):
            bars = [(at - begin, end - at) for (on, at), end in zip(runs, ends, strict=True) if on is wanted]
            axes.broken_barh(bars, (number - 0.4, 0.8), color=colour, linewidth=0)
        axes.text(0.02, number, line.name, va="center", size=6, transform=axes.get_yaxis_transform())
    axes.set_yticks([])


def _is_on(point: tuple[float, float]) -> bool | None:
    """None: not known."""
    return bool(point[1]) if point[1] == point[1] else None


def as_page(drawn: Sequence[str]) -> str:
    """docs/pictures/dashboards/README.md. drawn: names of the dashboards that there are pictures of."""
    lines = [
        "# Pictures of the dashboards",
        "",
        'Made by `make acceptance ARGS="metrics"`; do not edit. **These are no screenshots of Grafana**: each panel is',
        "drawn with matplotlib from the answers of a real Prometheus to that panel's queries, where Grafana would have",
        "it. The Prometheus scraped a release on the lab while the tests broke one thing after the other, so that",
        "every alert fired: blocks were damaged, the volume was filled, storage hung, was slow, and took nothing.",
        "",
    ]
    for path in FILES:
        dashboard = json.loads(path.read_text())
        picture = f"![{dashboard['title']}]({path.stem}.svg)" if path.stem in drawn else "No picture yet."
        lines += [f"## {dashboard['title'].removeprefix('llm-d storage: ').capitalize()}", picture, ""]
    return "\n".join(lines).rstrip() + "\n"


def write(pictures: Mapping[str, str], folder: Path = FOLDER) -> None:
    """pictures: {dashboard: SVG}. Those that were there and are not drawn anew stay, and stay on the page."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, svg in pictures.items():
        (folder / f"{name}.svg").write_text(svg)
    (folder / "README.md").write_text(as_page([path.stem for path in folder.glob("*.svg")]))

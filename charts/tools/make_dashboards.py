"""Makes the Grafana dashboards of the chart (files/dashboards) from charts/tools/dashboards/*.yaml.

usage: make_dashboards.py [--check]

The YAML has rows of panels: title, about, kind (timeseries unless said), unit, queries (expr, legend). What is the same
for all, and where a panel lies, is added here. In an expression SERVERS, EVICTOR and PICKER stand for the labels of the
chosen release's pods.
--check writes nothing and exits 1 when a file is not what the sources give.
"""

import json
import sys
from pathlib import Path
from typing import Any

import generated
import yaml

HERE = Path(__file__).resolve().parent
SOURCES = HERE / "dashboards"
TARGET = HERE.parent / "llm-d-storage" / "files" / "dashboards"
Json = dict[str, Any]

COLUMNS, STAT_HEIGHT, HEIGHT = 24, 4, 8
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
PODS = {"SERVERS": "modelserver", "EVICTOR": "evictor", "PICKER": "epp"}
TYPES = {"timeseries": "timeseries", "stat": "stat", "state": "state-timeline"}
GOOD, BAD = "green", "red"


def dashboard(source: Json) -> Json:
    """Grafana's model of one dashboard."""
    panels: list[Json] = []
    top = 0
    for row in source["rows"]:
        panels.append(
            {
                "type": "row",
                "title": row["title"],
                "collapsed": False,
                "panels": [],
                "gridPos": _place(0, top, COLUMNS, 1),
            }
        )
        top += 1
        stats = all(one.get("kind") == "stat" for one in row["panels"])
        height, most = (STAT_HEIGHT, 6) if stats else (HEIGHT, 4)
        count = len(row["panels"])
        across = -(-count // -(-count // most))  # as many lines as it takes, equally full
        width = COLUMNS // across
        for i, one in enumerate(row["panels"]):
            panels.append(_panel(one, _place(i % across * width, top + i // across * height, width, height)))
        top += -(-count // across) * height
    for number, panel in enumerate(panels, 1):
        panel["id"] = number
    return {
        "uid": source["uid"],
        "title": source["title"],
        "description": source["description"],
        "tags": ["llm-d-storage"],
        "editable": True,
        "graphTooltip": 1,  # one crosshair for all panels
        "refresh": "30s",
        "schemaVersion": 39,
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": _variables()},
        "links": [
            {
                "type": "dashboards",
                "title": "llm-d storage",
                "tags": ["llm-d-storage"],
                "keepTime": True,
                "includeVars": True,
            }
        ],
        "annotations": {"list": []},
        "panels": panels,
    }


def _place(x: int, y: int, w: int, h: int) -> Json:
    return {"x": x, "y": y, "w": w, "h": h}


def _panel(source: Json, place: Json) -> Json:
    kind = source.get("kind", "timeseries")
    defaults: Json = {"unit": source.get("unit", "bool_on_off" if kind == "state" else "")}
    if not defaults["unit"]:
        raise SystemExit(f"panel {source['title']!r} has no unit")
    if "decimals" in source:
        defaults["decimals"] = source["decimals"]
    options: Json = {}
    if kind == "timeseries":
        defaults["min"] = 0
        defaults["custom"] = {
            "fillOpacity": 10,
            "showPoints": "never",
            "stacking": {"mode": "normal" if source.get("stack") else "none"},
        }
        options = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
    elif kind == "state":
        bad = source.get("bad", 0)
        colours = {str(value): {"color": BAD if value == bad else GOOD, "index": value} for value in (0, 1)}
        defaults["mappings"] = [{"type": "value", "options": colours}]
        options = {"showValue": "never", "mergeValues": True, "legend": {"displayMode": "list", "placement": "bottom"}}
    else:
        options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "none", "graphMode": "none"}
    return {
        "type": TYPES[kind],
        "title": source["title"],
        "description": source.get("about", ""),
        "datasource": DATASOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [_target(i, query, kind) for i, query in enumerate(source["queries"])],
    }


def _target(number: int, query: Json, kind: str) -> Json:
    expr = query["expr"]
    for word, part in PODS.items():
        expr = expr.replace(word, f'namespace="$namespace",pod=~"$release-{part}-.+"')
    return {
        "refId": chr(ord("A") + number),
        "datasource": DATASOURCE,
        "expr": expr,
        "legendFormat": query.get("legend", ""),
        "instant": kind == "stat",
        "range": kind != "stat",
    }


def _variables() -> list[Json]:
    """Data source, namespace, release: the last from the names of the model servers' pods."""
    serving = 'vllm:num_requests_running{namespace="$namespace"}'

    def asked(name: str, label: str, query: str, regex: str = "") -> Json:
        return {
            "name": name,
            "label": label,
            "type": "query",
            "datasource": DATASOURCE,
            "query": {"query": query, "refId": name},
            "regex": regex,
            "refresh": 2,  # when the time range changes
            "sort": 1,
        }

    return [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
        asked("namespace", "Namespace", "label_values(vllm:num_requests_running, namespace)"),
        asked("release", "Release", f"label_values({serving}, pod)", "/^(.+)-modelserver-/"),
    ]


def rendered() -> generated.Files:
    """What each file must hold."""
    return {
        TARGET / f"{path.stem}.json": json.dumps(
            dashboard(yaml.safe_load(path.read_text())), indent=1, ensure_ascii=False
        )
        + "\n"
        for path in sorted(SOURCES.glob("*.yaml"))
    }


if __name__ == "__main__":
    sys.exit(generated.main(__doc__, "charts/tools/dashboards", rendered, folder=TARGET))

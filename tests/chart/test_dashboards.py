"""Dashboards: what a linter of Grafana would say, and that every metric in them exists."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import scripts
from tests.chart import helm
from tests.chart.test_alerts import groups, promtool

FOLDER = helm.CHART / "files" / "dashboards"
FILES = sorted(FOLDER.glob("*.json"))
# https://grafana.com/docs: ids of units, those in use.
UNITS = {"percentunit", "s", "ops", "Bps", "bytes", "short", "none", "bool_on_off"}
# What Grafana puts in, as a query would see it.
MACROS = {"$__rate_interval": "1m", "$__range": "3h", "$namespace": "inference", "$release": "kv"}
NAME = re.compile(r"\b(?:vllm:|llmd_storage_evictor_|inference_|kube_)[a-z0-9_:]+")

each_dashboard = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def panels(path: Path) -> list[dict[str, Any]]:
    return list(json.loads(path.read_text())["panels"])


def queries(path: Path) -> Iterator[tuple[str, str]]:
    """(panel, expression) with what Grafana would put in."""
    for panel in panels(path):
        for target in panel.get("targets", []):
            expr = target["expr"]
            for macro, value in MACROS.items():
                expr = expr.replace(macro, value)
            yield panel["title"], expr


def samples() -> set[str]:
    """The names of all series that the project and its surroundings show."""
    return {
        name
        for metrics in scripts.module("charts/tools", "make_metrics").known().values()
        for one in metrics
        for name in one.samples
    }


def selected(expr: str) -> set[str]:
    """The metrics that an expression asks for; of a name by pattern, all that it may mean."""
    found = set(NAME.findall(re.sub(r'\{__name__=~"[^"]*"', "{", expr)))
    for pattern in re.findall(r'__name__=~"([^"]*)"', expr):
        matching = {name for name in samples() if re.fullmatch(pattern, name)}
        assert matching, pattern
        found |= matching
    return found


@pytest.mark.parametrize("name", ["make_dashboards", "make_metrics"])
def test_what_is_made_is_current(name: str) -> None:
    argv = [sys.executable, scripts.ROOT / "charts" / "tools" / f"{name}.py", "--check"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@each_dashboard
def test_ids_and_places(path: Path) -> None:
    """Two panels with one id, or one over the other, and Grafana shows one of them."""
    ids = [panel["id"] for panel in panels(path)]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in panels(path):
        place = panel["gridPos"]
        assert 0 <= place["x"] and place["x"] + place["w"] <= 24 and place["w"] > 0 and place["h"] > 0, panel["title"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells


def test_dashboards_are_told_apart() -> None:
    seen = [json.loads(path.read_text()) for path in FILES]
    assert len(FILES) == 4
    for key in ("uid", "title"):
        assert len({one[key] for one in seen}) == len(seen)
    assert all(len(one["uid"]) <= 40 and one["schemaVersion"] >= 36 for one in seen)


@each_dashboard
def test_every_panel_asks_the_chosen_data_source(path: Path) -> None:
    whole = json.loads(path.read_text())
    variables = [one["name"] for one in whole["templating"]["list"]]
    assert variables == ["datasource", "namespace", "release"]
    for panel in panels(path):
        if panel["type"] == "row":
            continue
        for part in (panel, *panel["targets"]):
            assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]
        refs = [target["refId"] for target in panel["targets"]]
        assert refs and len(refs) == len(set(refs))
        assert set(re.findall(r"\$(\w+)", json.dumps(panel["targets"]))) <= {*variables, "__rate_interval", "__range"}


@each_dashboard
def test_every_panel_has_a_title_a_unit_and_legends(path: Path) -> None:
    titles = [panel["title"] for panel in panels(path)]
    assert all(titles) and len(titles) == len(set(titles))
    for panel in panels(path):
        if panel["type"] == "row":
            continue
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        for target in panel["targets"]:
            grouped = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            by = {
                label.strip() for labels in re.findall(r"by \(([^)]*)\)", target["expr"]) for label in labels.split(",")
            }
            assert grouped <= by, f"{panel['title']}: the legend names what the query does not keep"
            if len(panel["targets"]) > 1:
                assert target["legendFormat"], panel["title"]


@each_dashboard
def test_every_metric_in_a_panel_exists(path: Path) -> None:
    for title, expr in queries(path):
        names = selected(expr)
        assert names or "ALERTS" in expr, title
        assert names <= samples(), f"{title}: {names - samples()}"


def test_every_metric_in_a_rule_exists() -> None:
    for rule in (rule for group in groups() for rule in group["rules"]):
        names = selected(rule["expr"])
        assert names and names <= samples(), f"{rule}: {names - samples()}"


def test_a_wrong_name_would_be_found() -> None:
    assert selected('rate(vllm:prompt_token_total{namespace="a"}[1m])') - samples() == {"vllm:prompt_token_total"}
    assert "vllm:time_to_first_token_seconds_bucket" in samples()


@each_dashboard
def test_promtool_takes_every_query(path: Path, tmp_path: Path) -> None:
    rules = [{"record": f"panel:{number}", "expr": expr} for number, (_, expr) in enumerate(queries(path))]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    promtool("check", "rules", "--lint=none", tmp_path / "rules.yaml")


def test_everything_that_is_counted_can_be_seen() -> None:
    """A metric of the project that no dashboard and no rule shows is one that nobody will look at."""
    shown = {name for path in FILES for _, expr in queries(path) for name in selected(expr)}
    shown |= {name for group in groups() for rule in group["rules"] for name in selected(rule["expr"])}
    own = [
        one
        for where, metrics in scripts.module("charts/tools", "make_metrics").known().items()
        if where[:7] in ("Connect", "Evictor")
        for one in metrics
    ]
    hidden = {one.name for one in own if not one.samples & shown}
    assert hidden == HIDDEN


# Steps to what is shown: how often the breaker opened, what was there already, what dead writers left.
HIDDEN = {
    "vllm:kv_offload_llmd_storage_breaker_trips_total",
    "vllm:kv_offload_llmd_storage_store_existing_total",
    "vllm:kv_offload_llmd_storage_removed_temp_files_total",
    "llmd_storage_evictor_scans_total",
}


def test_each_is_a_config_map_that_the_sidecar_takes() -> None:
    objs = helm.objects("default", "--set", "dashboards.enabled=true,dashboards.annotations.grafana_folder=llm-d")
    maps = [o for o in objs if o["metadata"]["labels"]["app.kubernetes.io/component"] == "dashboards"]
    assert len(maps) == len(FILES)
    for path in FILES:
        (one,) = (o for o in maps if o["metadata"]["name"] == f"kv-dash-{path.stem}")
        assert one["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert one["metadata"]["annotations"] == {"grafana_folder": "llm-d"}
        # Byte for byte: Helm must not take Grafana's {{pod}} for its own.
        assert {name: text.strip() for name, text in one["data"].items()} == {
            f"llm-d-storage-{path.name}": path.read_text().strip()
        }

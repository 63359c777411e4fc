"""Pictures of the dashboards: every panel of a canned Prometheus answer, and a page that claims no more."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance import dashboards

MACROS = {"$__rate_interval": "1m", "$__range": "30m", "$namespace": "inference", "$release": "kv"}
BEGIN = 1000.0


def answer(query: dashboards.Query) -> Sequence[Mapping[str, Any]]:
    """What Prometheus answers: numbers as texts, one of them none."""
    labels = dict.fromkeys(re.findall(r"{{(\w+)}}", query.legend), "kv-modelserver-0")
    if query.instant:
        return [{"metric": {}, "value": [BEGIN + 60, "0.42"]}]
    values = [[BEGIN, "0"], [BEGIN + 20, "NaN"], [BEGIN + 40, "1"], [BEGIN + 60, "1"]]
    return [{"metric": labels, "values": values}, {"metric": labels, "values": values[2:]}]


def texts(svg: str) -> list[str]:
    return ["".join(e.itertext()).strip() for e in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize("path", dashboards.FILES, ids=lambda path: path.stem)
def test_every_panel_is_drawn_with_its_title_its_unit_and_its_series(path: Path) -> None:
    dashboard = json.loads(path.read_text())
    answers = dashboards.asked(dashboard, MACROS, answer)
    said = texts(dashboards.draw(dashboard, answers, BEGIN))
    for panel in dashboard["panels"]:
        assert panel["title"] in said
        for query in dashboards.queries(panel, MACROS):
            assert "$" not in query.expr, "a macro that Grafana puts in was left"
    assert "no data" not in said
    assert any("kv-modelserver-0" in text for text in said) or path.stem == "overview"
    if path.stem == "overview":
        assert "42 %" in said, "a stat panel shows its value in its unit"


def test_a_panel_without_data_says_so() -> None:
    dashboard = json.loads(dashboards.FILES[0].read_text())
    svg = dashboards.draw(dashboard, dashboards.asked(dashboard, MACROS, lambda _: []), BEGIN)
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert texts(svg).count("no data") == len(panels)


def test_equal_answers_give_equal_pictures() -> None:
    dashboard = json.loads(dashboards.FILES[0].read_text())
    answers = dashboards.asked(dashboard, MACROS, answer)
    assert dashboards.draw(dashboard, answers, BEGIN) == dashboards.draw(dashboard, answers, BEGIN)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.421, "percentunit", "42.1 %"),
        (3 << 20, "bytes", "3 MiB"),
        (1536, "Bps", "1.5 KiB/s"),
        (0.0025, "s", "2.5 ms"),
        (90, "s", "90 s"),
        (7, "ops", "7 /s"),
        (12345, "short", "1.234e+04"),
        (float("nan"), "s", ""),
    ],
)
def test_numbers_in_their_unit(value: float, unit: str, text: str) -> None:
    assert dashboards.in_unit(value, unit) == text


def test_legends_are_filled_in() -> None:
    (one,) = dashboards.series([{"metric": {"pod": "a"}, "value": [5, "+Inf"]}], "read: {{pod}} {{none}}")
    assert one.name == "read: a " and one.points[0][0] == 5 and one.points[0][1] != one.points[0][1]


def test_the_page_shows_what_was_drawn_and_says_what_it_is_not(tmp_path: Path) -> None:
    dashboards.write({"overview": "<svg/>"}, tmp_path)
    dashboards.write({"evictor": "<svg/>"}, tmp_path)
    page = (tmp_path / "README.md").read_text()
    assert "no screenshots of Grafana" in page
    assert "](overview.svg)" in page and "](evictor.svg)" in page and page.count("No picture yet.") == 2


def test_the_page_in_the_docs_is_of_the_pictures_that_are_there() -> None:
    drawn = [path.stem for path in dashboards.FOLDER.glob("*.svg")]
    assert (dashboards.FOLDER / "README.md").read_text() == dashboards.as_page(drawn)

"""A user would lose: a page that does not say how far a figure is from its target."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.bench import report
from tests.bench.rows import LIMIT, OURS, STOCK, Goal, Row

ABOUT = {"cpus": 2, "cpu": "x", "memory_gib": 8, "kernel": "6", "python": "3", "load_average_before": 0.1}
ROWS = [
    Row("load", "MiB/s", [90.0, 100.0, 110.0], [10.0] * 3, [100.0] * 3, Goal(LIMIT, 0.9), "fio's best", "fio", "loads"),
    Row("load: times stock", "MiB/s", [100.0], [10.0], (), Goal(STOCK, 15), "", "", "loads"),
    Row("lookups", "s", [0.4], (), (), Goal(OURS, 0.5, at_least=False), "", "", "lookups"),
    Row("alone", "s", [0.4], group="lookups"),
]


def shown() -> list[dict[str, Any]]:
    return [row.as_json() for row in ROWS]


def test_the_table_says_what_was_reached_and_what_was_wanted() -> None:
    lines = report.table(shown()).splitlines()[2:]
    assert lines[0] == "| load | MiB/s | 100 (90-110) | 10 | 100 | 1 x | ≥ 0.9 x limit | met |"
    assert lines[1] == "| load: times stock | MiB/s | 100 | 10 | - | 10 x | ≥ 15 x stock | **not met** |"
    assert lines[2] == "| lookups | s | 0.4 | - | - | 0.4 s | ≤ 0.5 s | met |"
    assert lines[3] == "| alone | s | 0.4 | - | - | - | for information | - |"


def test_only_rows_with_a_target_are_counted() -> None:
    assert report.summary(shown()) == "2 of 3 targets met"


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (1234.5, "1234"), (12.345, "12.3"), (0.5, "0.5"), (0.00012, "0.0001"), (0, "0")]
)
def test_numbers_are_short(value: float | None, text: str) -> None:
    assert report.number(value) == text


def test_the_page_has_every_row_every_note_and_what_failed() -> None:
    page = report.page({"machine": ABOUT, "rows": shown(), "failures": {"stores": "no fio"}}, {"loads": "loads.svg"})
    assert "## Loading" in page
    assert "![Loading](loads.svg)" in page
    assert "- load: fio's best." in page
    assert "| lookups | s |" in page
    assert "- stores: no fio" in page
    assert "**2 of 3 targets met.**" in page


def test_what_was_measured_is_written_with_the_machine_and_every_figure(tmp_path: Path) -> None:
    report.write_json(ROWS, [{"case": "load", "value": 1}], {"stores": "no fio"}, ABOUT, tmp_path / "build")
    result = json.loads((tmp_path / "build" / "bench.json").read_text())
    assert result["machine"] == ABOUT
    assert [row["met"] for row in result["rows"]] == [True, False, True, None]
    assert {"name", "ours", "stock", "limit", "ratio", "target", "met", "spread", "command"} <= set(result["rows"][0])
    assert json.loads((tmp_path / "build" / "bench-raw.json").read_text()) == [{"case": "load", "value": 1}]


def test_of_several_runs_a_row_is_the_last_ones_that_has_it() -> None:
    def run(*rows: tuple[str, int]) -> dict[str, Any]:
        return {"machine": ABOUT, "failures": {}, "rows": [{"name": name, "ours": ours} for name, ours in rows]}

    both = report.merged([run(("load", 1), ("lookups", 2)), run(("lookups", 3), ("tokens", 4))])
    assert [(row["name"], row["ours"]) for row in both["rows"]] == [("load", 1), ("lookups", 3), ("tokens", 4)]
    assert "from 2 runs" in report.page({**both, "rows": shown()}, {})
    assert report.merged([both, run(("tokens", 5))])["machine"]["runs"] == 3
    elsewhere = run() | {"machine": ABOUT | {"cpu": "another"}}
    assert report.merged([both, elsewhere, elsewhere])["machine"]["cpu"] == f"{ABOUT['cpu']}, another"
    raw = [[{"case": "a", "value": 1}, {"case": "a", "value": 2}], [{"case": "a", "value": 3}, {"case": "b"}]]
    assert report.latest(raw, "case") == [{"case": "a", "value": 3}, {"case": "b"}]


def test_a_page_begins_with_what_is_missed_and_why() -> None:
    row = Row("CPU of load 1 MiB", "s/GiB", [4.0], [1.0], (), Goal(STOCK, 1.3, at_least=False), group="cpu")
    text = report.page({"machine": ABOUT, "failures": {}, "rows": [*shown(), row.as_json()]}, {})
    assert text.index("| CPU of load 1 MiB | 4 x | ≤ 1.3 x stock | the stock tier") < text.index("## Loading")
    met = [one for one in shown() if one["met"] is not False]
    assert "## What is missed" not in report.page({"machine": ABOUT, "failures": {}, "rows": met}, {})

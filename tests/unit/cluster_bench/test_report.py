"""The benchmark's report: what is compared, and what is not; every picture is there."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from math import isnan
from pathlib import Path
from typing import Any

import pytest

from tests.cluster_bench import report

CONFIG = {
    "prefixes": 2,
    "promptsPerPrefix": 2,
    "prefixTokens": 100,
    "suffixTokens": 10,
    "outputTokens": 3,
    "rates": [1],
    "model": "m",
    "seed": 7,
    "maxConcurrency": 0,
}


def sample(at: float, tokens: float, own: float, reused: float, disk: float) -> dict[str, float]:
    return {
        "at": at,
        "answered": 0,
        "promptTokens": tokens,
        "ownMemoryTokens": own,
        "reusedTokens": reused,
        "storageTokens": disk,
    }


def stage(name: str, ttft: float) -> dict[str, Any]:
    return {
        "stage": name,
        "rate": 1,
        "seconds": 4.0,
        "answered": 4,
        "failed": 0,
        "requestsPerSecond": 1.0,
        "outputTokensPerSecond": 3.0,
        "requests": [[0.0, ttft, 5.0], [1.0, ttft * 2, 5.0], [2.0, ttft * 3, None], [3.0, ttft * 4, 6.0]],
        "gapQuantilesMs": [float(i) for i in range(201)],
        "samples": [sample(0, 0, 0, 0, 0), sample(2, 200, 20, 0, 0), sample(4, 400, 40, 150, 100)],
    }


def result(label: str, **config: Any) -> dict[str, Any]:
    stages = [stage("cold", 100), stage("1/s", 20)]
    return {"version": 1, "label": label, "startedAt": "now", "config": CONFIG | config, "stages": stages}


TRACE = {
    "name": "<mine>.jsonl",
    "sha256": "0123456789abcdef",
    "format": "mooncake",
    "speed": 1,
    "scale": 0.25,
    "blockTokens": 128,
    "requests": 24,
    "seconds": 60.5,
    "cut": 3,
    "cutTo": 4096,
    "leftOut": 7,
    "promptTokens": 1000,
    "repeatedTokens": 600,
}


def replayed(label: str, limit: int = 0, **trace: Any) -> dict[str, Any]:
    config = {"model": "m", "seed": 7, "maxConcurrency": limit}
    return result(label) | {"config": config, "trace": TRACE | trace, "stages": [stage("trace", 100)]}


def saved(tmp_path: Path, *results: dict[str, Any]) -> list[Path]:
    paths = [tmp_path / f"{i}.log" for i in range(len(results))]
    for path, one in zip(paths, results, strict=True):
        path.write_text("12:00:00 cold: 4 of 4 answered\n" + json.dumps(one) + "\n")
    return paths


def test_a_page_has_every_picture_once_and_well_formed(tmp_path: Path) -> None:
    text = report.page(report.load(saved(tmp_path, result("cache"), result("<none>"))))
    ids: list[str] = []
    for name in report.PLOTS:
        begin = text.index("<svg", text.index(f'<figure id="{name}">'))
        svg = ET.fromstring(text[begin : text.index("</svg>", begin) + 6])
        ids += [e.get("id", "") for e in svg.iter() if e.get("id")]
        assert "cache" in "".join(svg.itertext()), f"{name} has no legend"
    assert len(ids) == len(set(ids)), "two pictures share an id, and the browser mixes them up"
    assert "&lt;none&gt;" in text and "<none>" not in text
    assert "<script" not in text


def test_the_figures_of_a_stage() -> None:
    row = report.row(stage("cold", 100))
    assert (row["ttft50"], row["ttft90"]) == (300, 400)
    assert (row["gap50"], row["gap99"]) == (100, 198)
    assert (row["hit"], row["storage"]) == (190 / 400, 100 / 400)


def test_the_time_in_prefill_is_of_one_prompt_and_left_out_where_nobody_recorded_it() -> None:
    before, after = sample(0, 0, 0, 0, 0), sample(4, 400, 0, 0, 0) | {"answered": 4}
    assert report.prefill([before | {"prefillSeconds": 1.0}, after | {"prefillSeconds": 9.0}]) == 2.0
    assert isnan(report.prefill([before, after])), "a result of before this was counted"
    assert isnan(report.prefill([before | {"prefillSeconds": 9.0}, after | {"prefillSeconds": 1.0}])), "a new server"
    assert "<td></td></tr>" in report.table([result("cache")]) and "<td>nan</td>" not in report.table([result("cache")])


def test_hit_rate_over_time_is_of_each_window() -> None:
    assert report.over_time(stage("cold", 1)["samples"]) == ([2, 4], [0.1, 0.85])


def test_a_server_that_was_started_anew_gives_no_share_outside_0_and_1() -> None:
    before, after = sample(0, 100, 90, 50, 0), sample(1, 300, 0, 0, 0)
    assert report.share(before, after, "ownMemoryTokens") == 0.0
    assert report.share(after, before, "ownMemoryTokens") == 0.0


@pytest.mark.parametrize("other", [{"prefixTokens": 200}, {"seed": 8}, {"model": "n"}, {"rates": [2]}])
def test_results_of_other_work_are_not_compared(tmp_path: Path, other: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="of other work"):
        report.load(saved(tmp_path, result("cache"), result("none", **other)))


def test_a_file_that_is_no_result_is_named(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("Error: no such job\n")
    with pytest.raises(ValueError, match="x is no result of the benchmark"):
        report.load([tmp_path / "x"])


def test_published_figures_stand_only_beside_the_same_work() -> None:
    assert report.published(result("cache")) == []
    assert "none are set beside it" in report.page([result("cache")])
    theirs = dict(report.PUBLISHED[0]["work"])  # type: ignore[arg-type]
    same = result("cache", **theirs)
    assert report.published(same) == [report.PUBLISHED[0]]
    assert "15.25" in report.page([same])
    assert report.published(result("cache", **theirs | {"prefixTokens": 1024})) == []


def test_a_replayed_trace_is_told_with_what_was_changed_in_it(tmp_path: Path) -> None:
    text = report.page(report.load(saved(tmp_path, replayed("cache"), replayed("none"))))
    for words in (
        "a trace, replayed",
        "&lt;mine&gt;.jsonl (format mooncake, sha256 0123456789ab…)",
        "Sizes are the trace&#x27;s, times 0.25; the arrival times are the trace&#x27;s.",
        "24 requests in 60.5 s; 3 were cut to the 4096 tokens that the model takes; 7 of the trace were left out.",
        "60 % repeat",
    ):
        assert words in text
    assert "shared prefixes" not in text


def test_a_trace_whose_times_were_not_kept_says_so() -> None:
    assert "20 times as fast as it came" in report.page([replayed("cache", speed=20)])
    assert "but at most 4 requests at once" in report.page([replayed("cache", limit=4)])


def test_another_trace_is_other_work(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="of other work"):
        report.load(saved(tmp_path, replayed("cache"), replayed("none", scale=0.5)))
    with pytest.raises(ValueError, match="of other work"):
        report.load(saved(tmp_path, replayed("cache"), result("none")))

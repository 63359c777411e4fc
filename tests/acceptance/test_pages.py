# SPDX-License-Identifier: Apache-2.0
"""The benchmark's report, of results that the lab gave, before a real browser."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.browser import Browser
from tests.cluster_bench import report

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "benchmarks" / "cluster"
MODES = ("cache", "none", "stock")
LOOK = """({
  figures: [...document.querySelectorAll('figure')].map(f => {
    const svg = f.querySelector('svg'), box = svg.getBoundingClientRect();
    return {id: f.id, wide: box.width, high: box.height, drawn: svg.querySelectorAll('path').length};
  }),
  rows: document.querySelectorAll('tbody tr').length
})"""

# The browser may have to be installed first.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(report.page(report.load([RESULTS / f"{mode}.json" for mode in MODES])))
    return path


def test_every_picture_is_there_and_the_browser_does_not_complain(html: Path) -> None:
    with Browser() as browser:
        seen = browser.look_at(html, LOOK)
    assert seen.complaints == []
    assert [f["id"] for f in seen.value["figures"]] == list(report.PLOTS)
    for figure in seen.value["figures"]:
        assert figure["wide"] > 300 and figure["high"] > 100 and figure["drawn"] > 20, figure
    stages = len(json.loads((RESULTS / "cache.json").read_text())["stages"])
    assert seen.value["rows"] == len(MODES) * stages
    assert not [url for url in seen.requested if not url.startswith(("file:", "data:"))], "it loads from elsewhere"


def test_the_browser_notices_a_page_that_is_broken(tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    broken.write_text('<img src="gone.png"><script>console.error("sad"); nothing.here</script>')
    with Browser() as browser:
        said = " ".join(browser.look_at(broken).complaints)
    assert "sad" in said and "Uncaught" in said and "not loaded" in said

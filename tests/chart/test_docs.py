"""The docs' commands that need helm and no cluster, run as they stand."""

from __future__ import annotations

import shlex

import pytest

from tests.chart import helm
from tests.unit.docs import commands as docs


@pytest.mark.parametrize("text", docs.those(docs.CHART))
def test_it_works_as_it_stands(text: str) -> None:
    mine = str(helm.scenario_file("lab"))
    words = [mine if word == "my-values.yaml" else word for word in shlex.split(text)[1:]]
    chart = docs.ROOT / "charts" / "llm-d-storage"
    words = [w.replace("charts/llm-d-storage", str(chart), 1) if w.startswith("charts/") else w for w in words]
    done = helm.helm(*words)
    assert done.returncode == 0, done.stderr
    assert "kind:" in done.stdout or "groups:" in done.stdout

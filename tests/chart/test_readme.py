"""`helm show readme`: what a stranger is told before an install is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.chart import helm

README = helm.CHART / "README.md"
REFUSED = re.findall(r"^\| `([^`]+)` \|", README.read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest values, as the page has them."""
    (block,) = re.findall(r"^```yaml\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
    file = tmp_path_factory.mktemp("readme") / "my-values.yaml"
    file.write_text(block)
    return file


def test_helm_shows_the_page() -> None:
    assert helm.helm("show", "readme", helm.CHART).stdout.strip() == README.read_text().strip()


def test_the_smallest_values_are_enough(values: Path) -> None:
    done = helm.helm("template", "cache", helm.CHART, "-f", values)
    assert done.returncode == 0, done.stderr
    assert 'image: "registry.example.com/llm/llm-d-storage:' in done.stdout


def test_there_is_something_that_is_refused() -> None:
    assert len(REFUSED) >= 4


@pytest.mark.parametrize("setting", REFUSED)
def test_what_the_page_says_is_refused_is_refused_by_its_name(values: Path, setting: str) -> None:
    done = helm.helm("template", "cache", helm.CHART, "-f", values, "--set", setting)
    name = setting.partition("=")[0].rpartition(".")[2]
    assert done.returncode != 0 and name in done.stderr, done.stderr
